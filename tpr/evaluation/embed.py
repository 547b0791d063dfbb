"""Features of a whole split: cut into fixed chunks, shared over ranks, in order again on every rank.

Chunk i goes to rank i modulo the number of ranks. The chunks are those of a single process, so every row
comes out of the very same product and no number depends on how many processes took part.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tpr import distributed
from tpr.config.schema import DataOptions
from tpr.data.batch import Batch
from tpr.data.corpus import Corpus, IndexArray
from tpr.data.loader import iterate_captions, iterate_images
from tpr.systems.base import Side, System

Autocast = Callable[[], AbstractContextManager[Any]]


def embed(
    system: System,
    corpus: Corpus,
    data: DataOptions,
    side: Side,
    *,
    batch: int,
    device: torch.device,
    autocast: Autocast,
    workers: int = 0,
    indices: IndexArray | None = None,
) -> Tensor:
    """(N, D) float32 on `device`, the same on every rank: each picture, or each caption, of the corpus.

    batch: rows per chunk. indices: only these pictures (rows) or captions (running numbers), in this order.
    autocast: makes the context of the run's arithmetic. All ranks must call it together.
    """
    total = len(corpus) if side == "image" else corpus.caption_count
    wanted = np.arange(total, dtype=np.int64) if indices is None else np.asarray(indices, dtype=np.int64)
    chunks = assign_chunks(len(wanted), batch, distributed.world_size())
    own = wanted[chunks[distributed.rank()]]
    batches: Iterable[Batch] = ()
    if len(own) and side == "image":
        batches = iterate_images(corpus, data, batch=batch, workers=workers, device=device, indices=own)
    elif len(own):
        batches = iterate_captions(corpus, data, batch=batch, device=device, indices=own)
    with hold_in_evaluation(system), torch.inference_mode():
        parts = []
        for piece in batches:
            with autocast():
                features = system.encode(piece, side)
            parts.append(features.float())
        local = torch.cat(parts) if parts else torch.zeros((0, 0), device=device)
        return gather_chunks(local, chunks)


def assign_chunks(total: int, batch: int, ranks: int) -> list[IndexArray]:
    """Positions of each rank: every chunk of `batch` rows in turn to the next rank."""
    position = np.arange(total, dtype=np.int64)
    owner = position // batch % ranks
    return [position[owner == rank] for rank in range(ranks)]


def gather_chunks(local: Tensor, chunks: list[IndexArray]) -> Tensor:
    """(N, D) rows of all ranks in their places. local: this rank's rows, (its count, D) or (0, anything)."""
    if len(chunks) == 1:
        return local
    width = torch.tensor([local.shape[1]], device=local.device)
    dist.all_reduce(width, op=dist.ReduceOp.MAX)
    longest = max(len(chunk) for chunk in chunks)
    padded = torch.zeros((longest, int(width)), dtype=torch.float32, device=local.device)
    padded[: len(local), : local.shape[1]] = local
    gathered = [torch.empty_like(padded) for _ in chunks]
    dist.all_gather(gathered, padded)
    result = torch.empty((sum(map(len, chunks)), int(width)), dtype=torch.float32, device=local.device)
    for part, chunk in zip(gathered, chunks, strict=True):
        result[torch.from_numpy(chunk).to(local.device)] = part[: len(chunk)]
    return result


@contextmanager
def hold_in_evaluation(system: System) -> Iterator[None]:
    """Every module in eval mode, and afterwards each one in the mode it was in."""
    modes = {module: module.training for module in system.modules()}
    system.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
