"""The one training loop: epochs, steps, evaluation, checkpoints, resume. It knows no system by name.

The step itself is `Trainer.step`. Everything a step draws at random is a function of (seed, epoch, step,
sample), so a resumed run repeats the uninterrupted one bit for bit on a CPU.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tpr import distributed
from tpr.config.schema import Experiment
from tpr.config.typed import to_tree
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import TrainLoader
from tpr.data.samples.randomness import Purpose, stream_key
from tpr.engine.checkpoint import read_checkpoint_file
from tpr.engine.guard import BadStepGuard
from tpr.engine.keeper import BEST, LAST, Keeper
from tpr.engine.listeners import Recorder, Scorer
from tpr.engine.meter import Meter
from tpr.engine.optim import build_optimizer, gradient_norm, set_rates, step_unless
from tpr.engine.precision import Precision
from tpr.engine.resuming import check_own, find_unsound, load_optimizer, reading
from tpr.engine.schedule import rate_factor
from tpr.engine.stopping import Stopping
from tpr.errors import TrainingError
from tpr.systems.base import EpochContext, Progress, StepOutput, System

logger = logging.getLogger(__name__)


class Trainer:
    """Trains one system on this process's part of every global batch."""

    def __init__(
        self,
        system: System,
        loader: TrainLoader,
        experiment: Experiment,
        *,
        folder: Path,
        precision: Precision,
        scorer: Scorer,
        recorder: Recorder,
        extra_state: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """`folder` takes last.pt and best.pt; `extra_state` is saved with every checkpoint."""
        self.system = system.to(precision.device)
        self.loader = loader
        self.experiment = experiment
        self.folder = folder
        self.precision = precision
        self.scorer = scorer
        self.recorder = recorder
        self.extra_state = extra_state
        self.optimizer = build_optimizer(system, experiment.optim)
        self.scaler = precision.build_scaler()
        self.model = wrap_model(self.system, precision.device, compiled=experiment.runtime.compile)
        self.meter = Meter()
        self.keeper = Keeper(folder)
        self.guard = BadStepGuard(experiment.runtime.max_bad_steps, self.keeper.give_up)
        self.epoch = 1
        self.steps_done = 0
        self.best: float | None = None
        self.best_epoch = 0
        self.evaluated_epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the training set."""
        return len(self.loader)

    def fit(self) -> None:
        """Train from where the state stands to the last epoch or `runtime.max_steps`."""
        with Stopping() as stopping:
            while self.epoch <= self.experiment.schedule.epochs and not self.is_step_limit_reached():
                self.run_epoch(stopping)
                if self.steps_done == self.epoch * self.steps_per_epoch:
                    self.finish_epoch()
            self.finish()

    def is_step_limit_reached(self) -> bool:
        """True once `runtime.max_steps` steps are done."""
        limit = self.experiment.runtime.max_steps
        return limit is not None and self.steps_done >= limit

    def run_epoch(self, stopping: Stopping) -> None:
        """The steps of the current epoch that are not done yet."""
        first = self.steps_done - (self.epoch - 1) * self.steps_per_epoch
        if first == 0:
            self.system.before_epoch(self.describe_epoch())
        self.system.train()
        self.started = time.perf_counter()
        self.pairs = 0
        for batch in self.loader.epoch(self.epoch, first):
            self.step(batch)
            self.after_step(batch, stopping)
            if self.is_step_limit_reached():
                break

    def describe_epoch(self) -> EpochContext:
        """What a system may use before the current epoch."""
        return EpochContext(
            progress=Progress(seed=self.experiment.seed, epoch=self.epoch, step=self.steps_done),
            survey=partial(self.loader.survey, self.epoch),
            autocast=self.precision.autocast,
        )

    def step(self, batch: Batch) -> StepOutput:
        """One optimiser step on this rank's part of a global batch."""
        progress = self.begin_step()
        with self.precision.autocast():
            output: StepOutput = self.model(batch, progress)
        total = torch.stack(list(output.losses.values())).sum()
        bad = self.update(total, self.meter.add(output, total))
        self.steps_done += 1
        self.guard.watch(self.steps_done, bad, output, batch["sample_index"])
        return output

    def begin_step(self) -> Progress:
        """Set the rate and torch's generator, both functions of the position alone."""
        share = self.steps_done / self.steps_per_epoch - (self.epoch - 1)
        self.rate_factor = rate_factor(self.experiment.schedule, self.epoch, share, self.steps_per_epoch)
        set_rates(self.optimizer, self.rate_factor)
        seed = self.experiment.seed
        torch.manual_seed(stream_key(seed + distributed.rank(), self.steps_done, Purpose.DROPOUT))
        return Progress(seed=seed, epoch=self.epoch, step=self.steps_done)

    def update(self, total: Tensor, of_all_ranks: Tensor) -> Tensor:
        """Backward pass and optimiser step; returns 1 on the device where the step was skipped.

        total, of_all_ranks: this rank's share of the loss, and the whole. Shares add up over ranks while DDP
        takes the mean of gradients, hence the factor.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss = total * distributed.world_size()
        if self.scaler is not None:
            self.update_scaled(loss)
            return (~torch.isfinite(of_all_ranks)).float()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = gradient_norm(self.system)
        bad = (~(torch.isfinite(norm) & torch.isfinite(of_all_ranks))).float()
        self.clip(norm)
        step_unless(bad, self.optimizer)
        return bad

    def update_scaled(self, loss: Tensor) -> None:
        """The same under float16's loss scaling, which itself skips steps that overflow."""
        assert self.scaler is not None
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.experiment.optim.clip is not None:
            self.scaler.unscale_(self.optimizer)
            self.clip(gradient_norm(self.system))
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def clip(self, norm: Tensor) -> None:
        """Scale gradients down to `optim.clip`, where it is set."""
        if self.experiment.optim.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.system.parameters(), self.experiment.optim.clip, norm)

    def after_step(self, batch: Batch, stopping: Stopping) -> None:
        """Log, save and stop where it is time to."""
        runtime = self.experiment.runtime
        self.pairs += batch["global_size"]
        self.keeper.prove(self.guard.good_step)
        self.recorder.advance(batch["global_size"])
        within_epoch = self.steps_done % self.steps_per_epoch != 0
        save = within_epoch and self.steps_done % runtime.save_every_steps == 0
        is_due = self.steps_done % runtime.log_every_steps == 0 or self.is_step_limit_reached()
        if save or is_due or not within_epoch:
            self.log()
        if save:
            self.save_last()
        if stopping.is_asked():
            self.save_last()
            stopping.leave(self.folder / LAST, self.steps_done)

    def log(self) -> None:
        """Read the meter, the only place where the host waits for the device."""
        means = self.meter.read()
        seconds = time.perf_counter() - self.started
        rate = self.rate_factor * self.experiment.optim.lr
        self.recorder.record_step(self.epoch, self.steps_done, means, rate, self.pairs / max(seconds, 1e-9))
        self.started, self.pairs = time.perf_counter(), 0

    def finish_epoch(self) -> None:
        """Evaluate where it is due, keep the best, and write last.pt."""
        evaluation = self.experiment.evaluation
        is_last = self.epoch == self.experiment.schedule.epochs
        if is_last or (self.epoch % evaluation.every_epochs == 0 and evaluation.select_on != "last"):
            self.evaluate()
        self.epoch += 1
        self.save_last()

    def finish(self) -> None:
        """A run that `runtime.max_steps` cut has a last.pt, and a best.pt to look at, as a whole one has."""
        self.settle()
        if self.steps_done % self.steps_per_epoch:
            self.save_last()
        if self.best is None and not self.has_best_of_now():
            self.evaluate()
        if self.epoch <= self.experiment.schedule.epochs:
            return
        # No step will follow the last one and prove it: what it said itself must do.
        if self.guard.in_a_row:
            logger.warning(
                "the last %d steps were not finite and are left out; %s",
                self.guard.in_a_row,
                self.keeper.give_up(),
            )
        else:
            self.keeper.accept()

    def has_best_of_now(self) -> bool:
        """Whether an earlier start of this run was cut here and left its best.pt."""
        path = self.folder / BEST
        return path.exists() and read_checkpoint_file(path).get("step") == self.steps_done

    def settle(self) -> None:
        """Wait for the device, and judge the states that were written and the one that stands."""
        self.guard.settle()
        self.keeper.prove(self.guard.good_step)
        unsound = find_unsound(self.system.state_dict())
        if unsound is not None:
            raise TrainingError(
                f"step {self.steps_done}: the losses were finite, but '{unsound}' is not; "
                f"{self.keeper.give_up()}; lower optim.lr or set optim.clip"
            )

    def evaluate(self) -> None:
        """Score the system and write best.pt where it beats all earlier epochs."""
        self.settle()
        score = float(self.epoch)
        if self.experiment.evaluation.select_on != "last":
            score = self.scorer(self.system, self.epoch, self.steps_done)
        if not math.isfinite(score):
            logger.warning("epoch %d: the score is %s and cannot be the best", self.epoch, score)
        elif self.best is None or score > self.best:
            self.best, self.best_epoch = score, self.epoch
            self.keeper.save(BEST, self.describe(with_optimizer=False), self.steps_done)

    def save_last(self) -> None:
        """Write last.pt on the main rank."""
        if distributed.is_main_rank():
            self.settle()
            self.keeper.save(LAST, self.describe(with_optimizer=True), self.steps_done)

    def describe(self, *, with_optimizer: bool) -> dict[str, Any]:
        """Everything a checkpoint holds."""
        state: dict[str, Any] = {
            "model": self.system.state_dict(),
            "epoch": self.epoch,
            "step": self.steps_done,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "config": to_tree(self.experiment),
            "setting": asdict(self.system.setting),
            "precision": self.precision.name,
            **self.extra_state(),
        }
        if with_optimizer:
            state["meter"] = self.meter.save()
            state["optimizer"] = self.optimizer.state_dict()
            state["scaler"] = self.scaler.state_dict() if self.scaler else None
            state["tables"] = {name: table.save() for name, table in self.system.tables.items()}
        return state

    def resume(self) -> dict[str, Any] | None:
        """Continue from last.pt and return its content; None where the run is new.

        Raises CheckpointError where it is not a state of this run.
        """
        path = self.folder / LAST
        state = read_checkpoint_file(path) if path.exists() else None
        if state is not None:
            self.take_over(state, path)
            logger.info("resumed %s at epoch %d, step %d", path, self.epoch, self.steps_done)
        self.keeper.take_up(self.steps_done)
        self.recorder.rewind(self.steps_done)
        return state

    def take_over(self, state: dict[str, Any], path: Path) -> None:
        """Stand where a state stood that `describe` gave."""
        check_own(
            state,
            path,
            self.experiment,
            self.system,
            steps_per_epoch=self.steps_per_epoch,
            precision=self.precision.name,
        )
        self.system.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"], path)
        with reading(path, "scaler, tables or means"):
            if self.scaler and state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            for name, table in self.system.tables.items():
                table.load(state["tables"][name], self.precision.device)
            if "meter" in state:
                self.meter.load(state["meter"], self.precision.device)
        self.epoch, self.steps_done = state["epoch"], state["step"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]


def wrap_model(system: System, device: torch.device, *, compiled: bool) -> nn.Module:
    """The system as it is called in a step: compiled if asked, in DDP with several processes."""
    model: nn.Module = system
    if distributed.world_size() > 1:
        if device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        ids = [device.index] if device.type == "cuda" else None
        model = DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    return torch.compile(model) if compiled else model  # type: ignore[return-value]
