"""One run at a time works through a plan or in a folder, and a plan does not change under its run."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tpr.captioning.plan import PICTURES, PLAN, Plan, check_listing, read_plan
from tpr.errors import DataError

LOCK = "run.lock"
LOCK_TRIES = 3


def _take_lock(file: IO[str]) -> bool:
    """Whether the lock could be taken; `status` holds it for a blink, so one refusal is not believed."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.1)
    return False


@contextmanager
def hold_lock(plan: Plan) -> Iterator[None]:
    """Keep other runs of this plan out; dies with the process. Raises DataError if one is at work."""
    with (plan.folder / LOCK).open("a+") as file:
        if not _take_lock(file):
            file.seek(0)
            raise DataError(
                f"{plan.folder}: is being worked on by {file.read().strip() or 'another process'}; wait "
                "for it, or stop it and start again"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield


@contextmanager
def hold_file(path: Path, refusal: str) -> Iterator[None]:
    """Keep other processes out; dies with this one. Raises DataError, saying `refusal`, if one is in."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(refusal) from None
        yield


def is_locked(plan: Plan) -> bool:
    """Whether a run is at work."""
    path = plan.folder / LOCK
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Guard:
    """Notices a plan that changes under a run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.paths = [plan.folder / PLAN, plan.folder / PICTURES]
        check_listing(plan)
        self.seen = self.look()

    def look(self) -> list[tuple[int, int, int] | None]:
        """Time, size and number of both files."""
        return [_signature(path) for path in self.paths]

    def check(self) -> None:
        """Raise DataError if the plan is no longer the one that was started."""
        now = self.look()
        if now != self.seen:
            if read_plan(self.plan.folder).fingerprint != self.plan.fingerprint:
                raise DataError(
                    f"{self.plan.folder}: the plan changed under the run; make a new plan instead"
                )
            check_listing(self.plan)
            self.seen = now


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
