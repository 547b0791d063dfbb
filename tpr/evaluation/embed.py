"""Features of a whole split: cut into fixed chunks, shared over ranks, in order again on every rank.

Chunk i goes to rank i modulo the number of ranks. The chunks are those of a single process, so every row
comes out of the very same product and no number depends on how many processes took part.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tpr import distributed
from tpr.config.schema import DataOptions
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import iterate_captions, iterate_images
from tpr.data.samples.views import Views
from tpr.data.tables.corpus import Corpus, IndexArray

Autocast = Callable[[], AbstractContextManager[Any]]


class Encoder(Protocol):
    """What is measured: a system, or anything that encodes as one."""

    def views(self) -> Views:
        """What its images and captions go through."""

    def sides(self) -> Sequence[str]:
        """Kinds of items that it encodes, such as image and text."""

    def encode_queries(self, batch: Batch, sides: Sequence[Any]) -> Mapping[Any, Tensor]:
        """(N, D) features of a batch for each side."""

    def modules(self) -> Iterator[nn.Module]:
        """All parts, for their training mode."""

    def eval(self) -> Any:
        """Turn to evaluation."""


@dataclass(frozen=True, eq=False)
class Embedder:
    """Features of one corpus by one system, the same on every rank. All ranks must call it together."""

    system: Encoder
    corpus: Corpus
    data: DataOptions
    batch: int
    """Rows per chunk."""
    device: torch.device
    autocast: Autocast
    """Makes the context of the run's arithmetic."""
    workers: int = 0
    start: str = "auto"

    def embed(self, side: str, indices: IndexArray | None = None) -> Tensor:
        """(N, D) float32 on the device: each image, or each caption, of the corpus.

        indices: only these images (rows) or captions (running numbers), in this order.
        """
        total = len(self.corpus) if side == "image" else self.corpus.caption_count
        wanted = np.arange(total, dtype=np.int64) if indices is None else np.asarray(indices, dtype=np.int64)

        def read(places: IndexArray) -> Iterator[Batch]:
            if side == "image":
                return self.read_images(wanted[places])
            return iterate_captions(
                self.corpus,
                self.data,
                batch=self.batch,
                device=self.device,
                indices=wanted[places],
                tokenizer=self.system.views().tokenizer,
            )

        return self.encode(len(wanted), (side,), read)[side]

    def read_images(self, rows: IndexArray) -> Iterator[Batch]:
        """These images, `batch` at a time."""
        return iterate_images(
            self.corpus,
            self.data,
            batch=self.batch,
            workers=self.workers,
            start=self.start,
            device=self.device,
            indices=rows,
            chain=self.system.views().chain,
        )

    def encode(
        self, total: int, sides: Sequence[str], read: Callable[[IndexArray], Iterator[Batch]]
    ) -> dict[str, Tensor]:
        """Features of items 0..total-1; read: those at these places, `batch` at a time."""
        chunks = assign_chunks(total, self.batch, distributed.world_size())
        own = chunks[distributed.rank()]
        parts: dict[str, list[Tensor]] = {side: [] for side in sides}
        with hold_in_evaluation(self.system), torch.inference_mode():
            for piece in read(own) if len(own) else ():
                with self.autocast():
                    encoded = self.system.encode_queries(piece, sides)
                for side in sides:
                    parts[side].append(encoded[side].float())
            empty = torch.zeros((0, 0), device=self.device)
            return {
                side: gather_chunks(torch.cat(found) if found else empty, chunks)
                for side, found in parts.items()
            }


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
def hold_in_evaluation(system: Encoder) -> Iterator[None]:
    """Every module in eval mode, and afterwards each one in the mode it was in."""
    modes = {module: module.training for module in system.modules()}
    system.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
