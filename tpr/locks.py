"""One process at a time in an output folder: locks that go with their process, by the library filelock.

A lock file stays where it is when its lock is released: a process that waits for it has it open. What cannot
be locked (a file system without locks, a folder without write permission) is worked on without a lock; atomic
renaming still keeps every file whole.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tpr.errors import BusyError

logger = logging.getLogger(__name__)

LOCK_FILE = ".tpr.lock"
"""Name of the lock file within a folder that is held."""
POLL_SECONDS = 0.05
BLINK_SECONDS = 0.3
"""How long a folder must stay held to be refused: `is_held` of another process holds it for a moment."""


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other processes of this program out of an existing folder.

    Raises BusyError, in the one sentence that every command has for it, if another process is at work there.
    """
    with _hold(folder / LOCK_FILE, timeout=BLINK_SECONDS):
        yield


@contextmanager
def hold_made_folder(folder: Path, check: Callable[[Path], None] | None = None) -> Iterator[None]:
    """`hold_folder` for a folder that is made where it is missing, with those above it.

    check: raises where it holds already what is to be written; asked again when the folder is held, since
    another process may have written meanwhile. What was made and is empty when the context fails goes again.
    Raises OSError where the folder cannot be made, BusyError as `hold_folder` does.
    """
    if check is not None:
        check(folder)
    made = [missing for missing in (folder, *folder.parents) if not missing.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_folder(folder):
            try:
                if check is not None:
                    check(folder)
                yield
            except BaseException:
                # While it is held: nobody else can be at work in a folder that has nothing but our lock.
                if made and {path.name for path in folder.iterdir()} == {LOCK_FILE}:
                    (folder / LOCK_FILE).unlink()
                raise
    except BaseException:
        with suppress(OSError):
            for empty in made:
                empty.rmdir()
        raise


@contextmanager
def take_turns(lock: Path) -> Iterator[None]:
    """Wait until no other process holds the lock file `lock`, then hold it. Its folder must exist."""
    with _hold(lock, timeout=-1):
        yield


def is_held(folder: Path) -> bool:
    """Whether a process is at work in a folder."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        with hold_folder(folder):
            return False
    except BusyError:
        return True


@contextmanager
def _hold(lock: Path, *, timeout: float) -> Iterator[None]:
    held = FileLock(lock, timeout=timeout)
    try:
        held.acquire(poll_interval=POLL_SECONDS)
    except Timeout:
        raise BusyError(
            f"{lock.parent}: another process is at work there; wait for it, or stop it and start again"
        ) from None
    except (NotImplementedError, OSError) as error:
        logger.debug("%s: cannot be locked (%s)", lock, error)
        yield
        return
    try:
        yield
    finally:
        held.release()
