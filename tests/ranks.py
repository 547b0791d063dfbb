"""Ranks of a distributed run, as processes that end with their test."""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as mp

from tests.processes import LAST_RESORT, use_one_thread


def run_ranks(function: Callable[..., None], arguments: tuple[Any, ...], *, ranks: int = 2) -> None:
    """Call `function(rank, *arguments)` in so many processes at once; raises what one of them raised."""
    # A copy of this process has nothing to import; CUDA, and other systems than Linux, do not bear copies.
    method = "fork" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = mp.start_processes(
            begin_rank, (function, *arguments), nprocs=ranks, join=False, start_method=method
        )
    until = time.monotonic() + LAST_RESORT
    try:
        while not context.join(timeout=max(0.0, until - time.monotonic())):
            assert time.monotonic() < until, "the processes do not end"
    finally:
        for process in context.processes:
            process.kill()
            process.join()


def begin_rank(rank: int, function: Callable[..., None], *arguments: Any) -> None:
    use_one_thread()
    function(rank, *arguments)
