"""A path as a person types it, in a config, on a command line or in `TPR_DATA`."""

import os
from pathlib import Path

LONGEST_PATH = 4095
"""Bytes that Linux takes as one path."""
LONGEST_NAME = 255
"""Bytes of one file or folder name; no common file system holds more."""


def type_path(text: str) -> Path:
    """The path with a leading `~` or `~name` replaced by that home folder.

    Raises ValueError, `expected ..., got ...`, for an unknown `~name` and for what no file system can hold.
    """
    if not text or "\0" in text:
        raise ValueError(f"expected a path, got {text!r}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"expected a path in UTF-8, got {ascii(text)[:LONGEST_NAME]}") from None
    if size > LONGEST_PATH or max(len(name.encode()) for name in text.split("/")) > LONGEST_NAME:
        raise ValueError(
            f"expected a path of at most {LONGEST_PATH} bytes and {LONGEST_NAME} in each name, "
            f"got {text[:40]!r}... of {size} bytes"
        )
    path = os.path.expanduser(text)  # noqa: PTH111 - that of pathlib takes an unknown ~name for an error
    if path == text and (text == "~" or text.startswith("~/")):
        raise ValueError(f"expected a whole path, since no home folder is known (set HOME), got {text!r}")
    if path == text and text.startswith("~"):
        name = text.partition("/")[0]
        raise ValueError(
            f"expected a path, but there is no user '{name[1:]}'; write ./ before a name that begins with ~, "
            f"got {text!r}"
        )
    return Path(path)


def show_path(path: Path) -> str:
    """The text that `type_path` makes the same path of."""
    return f"./{path}" if str(path).startswith("~") else str(path)
