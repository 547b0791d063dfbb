"""Files that are whole or not there: written next to the target, synced, then renamed.

The temporary name is the process's own, so two writers of one file never mix: the later one wins.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

PARTIAL = ".partial"
"""Ending of a file that is being written; one that a killed process left may be removed."""


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes its name when the context ends well; else a file of that name stays as it was.

    Raises OSError where the folder cannot be written or the disk is full; an error that ends the context is
    passed on as it is, even where closing the file fails as well.
    """
    # Short, whatever the target's name: a file system allows 255 bytes.
    partial = path.with_name(f".{os.getpid()}-{uuid4().hex[:8]}{PARTIAL}")
    try:
        file = partial.open("wb")
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            partial.replace(path)
        finally:
            # Closing flushes: on a full disk it fails a second time, and what failed first is the reason.
            with suppress(OSError):
                file.close()
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write bytes, or text in UTF-8, whole or not at all. Raises OSError."""
    with open_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder that no other process writes to now."""
    for partial in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError):
            partial.unlink()
