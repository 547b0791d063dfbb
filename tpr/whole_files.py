"""Files that are whole or not there: written beside the target, synced, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes its name when the context ends well; else a file of that name stays as it was.

    Raises OSError where the folder cannot be written or the disk is full.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write bytes, or text in UTF-8, whole or not at all. Raises OSError."""
    with open_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
