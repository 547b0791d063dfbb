"""What a run tells while it trains, in one place: progress on the screen, lines in journal and log."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tpr import distributed
from tpr.config.schema import Experiment
from tpr.errors import TrainingError
from tpr.evaluation.rows import Results
from tpr.report.console import ProgressLine, say
from tpr.report.journal import Journal
from tpr.report.result_table import draw_table


class RunRecorder:
    """Passes what the trainer says on to the progress bar and the journal; silent off the main rank."""

    def __init__(
        self, folder: Path, experiment: Experiment, *, losses: Sequence[str], pairs: int, steps: int
    ) -> None:
        """losses: names of what is minimised. pairs, steps: samples and optimiser steps of the whole run."""
        self.experiment = experiment
        self.losses = losses
        self.steps = steps
        self.pairs = pairs
        self.journal = Journal(folder, tensorboard=experiment.report.tensorboard)
        self.progress = ProgressLine(total=pairs)

    def rewind(self, step: int) -> None:
        """The run continues after `step`; 0: it is new."""
        self.journal.resume(step)
        self.progress.move_to(round(self.pairs * step / self.steps))

    def advance(self, pairs: int) -> None:
        """So many more training samples are done."""
        self.progress.advance(pairs)

    def record_step(
        self, epoch: int, step: int, means: dict[str, float], lr: float, pairs_per_second: float
    ) -> None:
        """Means since the last such call."""
        self.journal.step(step, epoch, means, {}, lr=lr, pairs_per_second=pairs_per_second)
        self.progress.report(
            f"epoch {epoch}/{self.experiment.schedule.epochs}  step {step}/{self.steps}",
            loss=means["loss"],
            parts={name: means[name] for name in self.losses if name in means},
            pairs_per_second=pairs_per_second,
        )

    def record_evaluation(self, epoch: int, step: int, split: str, results: Results) -> None:
        """A table of one split, measured after `step`."""
        self.journal.evaluation(step, epoch, split, results)
        if distributed.is_main_rank():
            say(draw_table(results, f"epoch {epoch}, {split}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except TrainingError:
            # What ended the run is the reason to tell, not what failed after it.
            if error is None:
                raise

    def close(self) -> None:
        """End bar and journal."""
        self.progress.close()
        self.journal.close()
