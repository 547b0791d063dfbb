"""Memory of a process as Linux counts it; other systems give NaN and the checks say so."""

import ctypes
import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEBIBYTE = 2.0**20


def read_kibibytes(file: Path, key: str) -> float:
    """One `key: value kB` line of a file under /proc, NaN where there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return math.nan
    for line in lines:
        if line.startswith(f"{key}:"):
            return float(line.split()[1])
    return math.nan


def resident_bytes(process: int | str = "self") -> float:
    """Resident set of a process."""
    return read_kibibytes(Path(f"/proc/{process}/status"), "VmRSS") * 1024


def private_bytes(process: int | str = "self") -> tuple[float, float]:
    """(dirty, clean) pages that only this process holds; clean ones are page cache that others may map."""
    rollup = Path(f"/proc/{process}/smaps_rollup")
    return read_kibibytes(rollup, "Private_Dirty") * 1024, read_kibibytes(rollup, "Private_Clean") * 1024


def release_free_memory() -> None:
    """Collects garbage and gives freed heap back, so that the next growth is seen."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


def peak_growth(function: Callable[[], Any]) -> float:
    """Bytes by which the resident set rose above its start at the highest point of one call."""
    release_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return math.nan
    status = Path("/proc/self/status")
    before = read_kibibytes(status, "VmRSS")
    result = function()
    growth = (read_kibibytes(status, "VmHWM") - before) * 1024
    del result
    return growth
