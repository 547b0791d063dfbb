"""Folders that are whole or not there: made next to their place, then renamed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def find_lock(folder: Path) -> Path:
    """The lock file that whoever makes this folder holds; it lies next to it and is hidden."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def build_folder(folder: Path) -> Iterator[Path]:
    """A new folder that becomes `folder` when the context ends well, and is removed otherwise.

    Its name is the process's own. One that is there already, since nothing could be locked and another
    process was faster, stays. Raises OSError where the folder above cannot be written.
    """
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        temporary.chmod(0o755)
        yield temporary
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, *, older_than_seconds: float = 0) -> None:
    """Remove what killed processes left of making `folder`; the caller holds its lock.

    older_than_seconds: age from which one is removed, for places where not every file system can lock.
    """
    for leftover in folder.parent.glob(f".{folder.name}-*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime >= older_than_seconds:
                shutil.rmtree(leftover, ignore_errors=True)
