"""Which states of a run are kept. A state is on trial until a good step was taken from it.

A checkpoint is written as soon as it is due, so that a run which is killed goes on from it. What it replaced
stays next to it, under a hidden name, until a good step has shown that the new state is sound; if the run
diverges instead, it is put back. An empty hidden file says that nothing was there before.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tpr import distributed
from tpr.engine.checkpoint import read_checkpoint_file, write_checkpoint
from tpr.errors import CheckpointError, TrainingError
from tpr.whole_files import open_whole

LAST = "last.pt"
BEST = "best.pt"


class Keeper:
    """Writes the checkpoints of one run, on the main rank only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trial_step: int | None = None
        """Step of the state that is on trial; None where the newest one has passed."""

    def take_up(self, step: int) -> None:
        """The run starts or goes on at `step`, from last.pt where there is one."""
        if not distributed.is_main_rank():
            return
        if self.find_before(LAST).exists() and (self.folder / LAST).exists():
            self.trial_step = step
            return
        # last.pt has passed, or never was: a best.pt on trial is ahead of where the run goes on.
        self.put_back()

    def save(self, name: str, state: dict[str, Any], step: int) -> None:
        """Write a state of `step` and put it on trial. Raises TrainingError."""
        if not distributed.is_main_rank():
            return
        target, before = self.folder / name, self.find_before(name)
        if not before.exists():
            try:
                keep_copy(target, before)
            except OSError as error:
                raise TrainingError(
                    f"{target}: the checkpoint could not be written ({error.strerror or error}); "
                    "the one written before is kept"
                ) from error
        write_checkpoint(target, state)
        self.trial_step = step

    def prove(self, good_step: int) -> None:
        """A good step, with this number, was taken: it proves all states before it."""
        if self.trial_step is not None and good_step > self.trial_step:
            self.accept()

    def accept(self) -> None:
        """What is on trial has passed."""
        if not distributed.is_main_rank():
            return
        for name in (BEST, LAST):
            with suppress(OSError):
                self.find_before(name).unlink(missing_ok=True)
        self.trial_step = None

    def put_back(self) -> None:
        """Put back what the states on trial had replaced."""
        for name in (BEST, LAST):
            target, before = self.folder / name, self.find_before(name)
            if not before.exists():
                continue
            if before.stat().st_size:
                before.replace(target)
            else:
                # The mark goes last: a process that is killed between the two lines is none the worse.
                target.unlink(missing_ok=True)
                before.unlink()
        self.trial_step = None

    def give_up(self) -> str:
        """The run has diverged: put back the newest sound state, and say which one it is."""
        if not distributed.is_main_rank():
            return f"{self.folder / LAST} holds the newest state from which a good step was taken"
        with suppress(OSError):
            self.put_back()
        return describe_last(self.folder / LAST)

    @contextmanager
    def giving_up(self, step: int) -> Iterator[None]:
        """Where an evaluation finds that the state of a step is unsound, say also what is kept."""
        try:
            yield
        except TrainingError as error:
            raise TrainingError(f"step {step}: {error}; {self.give_up()}") from None

    def find_before(self, name: str) -> Path:
        """Where that which `name` replaced is kept."""
        return self.folder / f".before-{name}"


def keep_copy(target: Path, before: Path) -> None:
    """Give a file a second name, or mark with an empty file that there is none. Raises OSError."""
    if not target.exists():
        before.touch()
        return
    try:
        os.link(target, before)
    except OSError:
        # A file system without hard links.
        with target.open("rb") as source, open_whole(before) as copy:
            shutil.copyfileobj(source, copy)


def describe_last(path: Path) -> str:
    """What a run that has diverged can go on from."""
    try:
        step = read_checkpoint_file(path)["step"] if path.exists() else None
    except (CheckpointError, KeyError):
        step = None
    if step is None:
        return "nothing was saved yet from which a good step was taken"
    return f"{path} holds step {step}, the newest state from which a good step was taken"
