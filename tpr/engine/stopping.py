"""SIGTERM and Ctrl-C end a run after the step under way, with last.pt written."""

import logging
import signal
from pathlib import Path
from types import FrameType, TracebackType

from tpr import distributed

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """Context in which the two signals are noted instead of obeyed at once; a second one is obeyed."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.previous: dict[int, object] = {}

    def __enter__(self) -> "Stopping":
        for number in SIGNALS:
            self.previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in SIGNALS:
            signal.signal(number, self.previous[number])  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise SystemExit(128 + number)
        self.asked = number

    def is_asked(self) -> bool:
        """True on the main rank once a signal came.

        Other ranks go on until the main one has left: a step needs them all, and it alone writes.
        """
        return self.asked is not None and distributed.is_main_rank()

    def leave(self, checkpoint: Path, step: int) -> None:
        """End the process with the shell's exit code for the signal."""
        assert self.asked is not None
        distributed.claim_last_word()
        logger.warning(
            "stopped by %s after step %d; %s continues from there when started again",
            signal.Signals(self.asked).name,
            step,
            checkpoint,
        )
        raise SystemExit(128 + self.asked)
