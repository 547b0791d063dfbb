"""Work that is cut into parts, each done by one process, with all results in order on every process."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from tpr import distributed

Part = TypeVar("Part")

SHARD_QUERIES = 1024
"""Queries that one process ranks before the next shard; fixed, so that no product depends on the ranks."""


def cut_queries(total: int) -> list[slice]:
    """The shards of `total` queries, at least one."""
    return [slice(start, start + SHARD_QUERIES) for start in range(0, max(1, total), SHARD_QUERIES)]


def share_parts(count: int, measure: Callable[[int], Part]) -> list[Part]:
    """What `measure` gives for 0..count-1: each rank takes its turn, and all of them get all results.

    Results travel pickled. Every rank must call it.
    """
    ranks = distributed.world_size()
    own: dict[int, Any] = {
        number: measure(number) for number in range(count) if number % ranks == distributed.rank()
    }
    if ranks > 1:
        gathered: list[dict[int, Any]] = [{} for _ in range(ranks)]
        dist.all_gather_object(gathered, own)
        own = {number: part for parts in gathered for number, part in parts.items()}
    return [own[number] for number in range(count)]
