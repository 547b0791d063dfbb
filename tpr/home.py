"""Where a user's cache folder lies, also for a user without a home: looked for when it is needed."""

import logging
import os
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)


def find_cache_home() -> Path:
    """The folder XDG_CACHE_HOME, else `.cache` at home, else a folder of this user's for temporary files.

    The last is for containers whose user has no name and no home that it can write to (`docker --user`).
    """
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named).expanduser() if named.startswith("~/") else Path(named)
    try:
        home = Path.home()
    except RuntimeError:
        return _find_substitute()
    usable = home / ".cache" if (home / ".cache").is_dir() else home
    return home / ".cache" if os.access(usable, os.W_OK | os.X_OK) else _find_substitute()


@cache
def _find_substitute() -> Path:
    folder = Path(tempfile.gettempdir()) / f"tpr-cache-{os.getuid()}"
    logger.warning(
        "no home folder that can be written to: caches are kept in %s; XDG_CACHE_HOME chooses", folder
    )
    return folder
