"""Which process of a run this is, without importing torch: commands that need no network start in a blink."""

import os
import sys
from typing import Any


def _group() -> Any | None:
    """torch.distributed if the processes have met; nobody has met where it was never imported."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def world_size() -> int:
    """Number of processes of this run."""
    dist = _group()
    return 1 if dist is None else int(dist.get_world_size())


def rank() -> int:
    """Number of this process, from 0."""
    dist = _group()
    return 0 if dist is None else int(dist.get_rank())


def is_main_rank() -> bool:
    """True on the one process that speaks and writes."""
    return rank() == 0


def is_speaker() -> bool:
    """True on the one process that speaks before the processes have met: all find the same mistakes then."""
    return os.environ.get("RANK", "0") == "0"


def claim_last_word() -> bool:
    """True on the first process that asks: it alone says why the run ends.

    What other processes say after it is either the same mistake or that they lost contact.
    """
    dist = _group()
    if dist is None:
        return is_speaker()
    try:
        return int(dist.distributed_c10d._get_default_store().add("last_word", 1)) == 1
    except (RuntimeError, ValueError):
        # The process that keeps the list is gone: better twice than never.
        return True
