"""Memory of a process as Linux counts it; other systems give NaN and the checks say so."""

import ctypes
import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEBIBYTE = 2.0**20
M_MMAP_THRESHOLD = -3
"""glibc's number of the option."""
SMALLEST_MAPPING, LARGEST_MAPPING = 2**17, 2**25
"""glibc begins with the one, and after large pieces were freed ends at the other."""


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
    _call_allocator("malloc_trim", 0)


def set_mapping_threshold(nbytes: int) -> None:
    """From this size on, memory is mapped by itself, and given back when it is freed."""
    _call_allocator("mallopt", M_MMAP_THRESHOLD, nbytes)


def _call_allocator(name: str, *arguments: int) -> None:
    try:
        getattr(ctypes.CDLL("libc.so.6"), name)(*arguments)
    except (OSError, AttributeError):
        return


def peak_growth(function: Callable[[], Any]) -> float:
    """Bytes by which the resident set rises above its start in a call that is not the first."""
    # Holes that earlier work left in the heap would hide some of the growth, or add some when filled again.
    set_mapping_threshold(SMALLEST_MAPPING)
    release_free_memory()
    function()
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return math.nan
    status = Path("/proc/self/status")
    before = read_kibibytes(status, "VmRSS")
    result = function()
    growth = (read_kibibytes(status, "VmHWM") - before) * 1024
    set_mapping_threshold(LARGEST_MAPPING)
    del result
    return growth
