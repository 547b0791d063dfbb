"""Where a user's cache folder lies, also for a user without a home: looked for when it is needed.

Containers run with users that have no name and no home that they can write to (`docker --user`).
"""

import logging
import os
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)


def find_cache_home() -> Path:
    """The folder XDG_CACHE_HOME, else `.cache` at home, else a folder of this user's for temporary files."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        home = _find_home()
        return home / named[2:] if named.startswith("~/") and home is not None else Path(named)
    home = _find_home()
    return home / ".cache" if home is not None else _choose_substitute()


def give_libraries_a_home() -> None:
    """Name a folder to matplotlib, which complains at its import where there is no home."""
    if "MPLCONFIGDIR" not in os.environ and _find_home() is None:
        os.environ["MPLCONFIGDIR"] = str(_name_substitute() / "matplotlib")


def _find_home() -> Path | None:
    """The home that this user can write to."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    folder = home / ".cache" if (home / ".cache").is_dir() else home
    return home if os.access(folder, os.W_OK | os.X_OK) else None


def _name_substitute() -> Path:
    return Path(tempfile.gettempdir()) / f"tpr-cache-{os.getuid()}"


@cache
def _choose_substitute() -> Path:
    folder = _name_substitute()
    # What fetches weights looks for a home of its own.
    os.environ.setdefault("HOME", str(folder))
    logger.warning(
        "no home folder that can be written to: caches are kept in %s; XDG_CACHE_HOME chooses", folder
    )
    return folder
