"""Scores of queries with a gallery, a block of queries at a time: products of features, or numbers given.

A float32 product is exact to about 1e-7 only, and BLAS may even round equal columns differently: what a quick
block leaves open is scored again in float64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.errors import TrainingError

CPU_BLOCK_BYTES = (8 * 2**20, 24 * 2**20)
CPU_BLOCK_ROWS = 320
EXACT_BLOCK_BYTES = 2**20
"""Several passes over a block of exact scores should find it in a cache."""
CUDA_BLOCK_BYTES = 256 * 2**20
SLICE_ROWS = 512
"""Gallery rows turned into float64 at once."""
REMEDY = (
    "the weights have diverged or the arithmetic overflowed: lower optim.lr, or set runtime.precision=float32"
)

Index = Sequence[npt.NDArray[Any]]
"""Places of queries and of gallery items, to index a block with."""


class Products:
    """Products of features of any length, or inner products with a gallery whose lengths mean something."""

    def __init__(
        self, queries: Tensor, gallery: Tensor, *, cosine: bool = True, block_bytes: int | None = None
    ) -> None:
        """queries: (Q, D), gallery: (G, D). block_bytes: size of a block; absent: what suits the device.

        Queries are made unit vectors in any case. Raises TrainingError for features that are not finite.
        """
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(f"queries have {queries.shape[1]} columns, the gallery {gallery.shape[1]}")
        dtype = torch.promote_types(queries.dtype, gallery.dtype)
        # What float32 errs by is known for unit vectors alone.
        self.device, self.is_exact = gallery.device, dtype == torch.float64 or not cosine
        self.gallery, self.gallery_scale = gallery.to(dtype), unit_scale(gallery, "gallery")
        if not cosine:
            self.gallery_scale = torch.ones_like(self.gallery_scale)
        self.queries, self.query_scale = queries, unit_scale(queries, "query")
        self.row_bytes = max(1, len(gallery)) * dtype.itemsize
        self.block_bytes = block_bytes or choose_block_bytes(self.device, self.row_bytes)

    def start(self, rows: npt.NDArray[np.int64], hidden: Sequence[Index]) -> None:
        """Turn to a block of queries. hidden: places of pairs that do not count for one another."""
        chosen = torch.from_numpy(rows).to(self.queries.device)
        self.unit = (self.queries[chosen].double() * self.query_scale[chosen, None]).to(self.device)
        self.hidden = [tuple(torch.from_numpy(part).to(self.device) for part in pair) for pair in hidden]

    def quick(self) -> Tensor:
        """(R, G) scores in the features' type, minus infinity where hidden."""
        scores = self.unit.to(self.gallery.dtype) @ self.gallery.T
        return self._hide(scores.mul_(self.gallery_scale.to(scores.dtype)))

    def exact(self) -> Tensor:
        """(R, G) scores of the block in float64, minus infinity where hidden."""
        parts = [self.unit @ part.double().T for part in torch.split(self.gallery, SLICE_ROWS)]
        return self._hide(torch.cat(parts, dim=1).mul_(self.gallery_scale))

    def exact_pairs(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(K,) scores in float64 of rows of the block with gallery columns."""
        pairs = zip(torch.split(rows, SLICE_ROWS), torch.split(columns, SLICE_ROWS), strict=True)
        parts = [torch.einsum("kd,kd->k", self.unit[r], self.gallery[c].double()) for r, c in pairs]
        return torch.cat(parts) * self.gallery_scale[columns]

    def _hide(self, scores: Tensor) -> Tensor:
        for pair in self.hidden:
            scores[pair] = -torch.inf
        return scores


class GivenDistances:
    """Distances that somebody else computed; a score is minus one."""

    device = torch.device("cpu")

    def __init__(self, distances: npt.NDArray[Any]) -> None:
        """distances: (Q, G). Raises TrainingError where they are not finite."""
        if not np.isfinite(distances.sum()):
            raise TrainingError(f"distances between queries and gallery are not finite; {REMEDY}")
        self.distances = distances
        self.row_bytes = max(1, distances.shape[1]) * 8
        self.block_bytes = EXACT_BLOCK_BYTES

    def start(self, rows: npt.NDArray[np.int64], hidden: Sequence[Index]) -> None:
        """Turn to a block of queries. hidden: places of pairs that do not count for one another."""
        self.block = np.negative(self.distances[rows], dtype=np.float64)
        for pair in hidden:
            self.block[tuple(pair)] = -np.inf

    def exact(self) -> Tensor:
        """(R, G) scores of the block in float64, minus infinity where hidden."""
        return torch.from_numpy(self.block)


def unit_scale(features: Tensor, side: str) -> Tensor:
    """(N,) float64 one over the length of each row; raises TrainingError naming rows that are not finite."""
    parts = [torch.linalg.vector_norm(part.double(), dim=1) for part in torch.split(features, SLICE_ROWS)]
    length = torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float64)
    bad = torch.nonzero(~torch.isfinite(length))
    if len(bad):
        raise TrainingError(
            f"{len(bad)} of {len(features)} {side} features are not finite (first: row {int(bad[0])}); "
            f"{REMEDY}"
        )
    return length.clamp_min(1e-12).reciprocal()


def choose_block_bytes(device: torch.device, row_bytes: int) -> int:
    """On a CPU what its caches hold, but enough rows that the product does not wait for the gallery."""
    if device.type == "cuda":
        return CUDA_BLOCK_BYTES
    least, most = CPU_BLOCK_BYTES
    return min(most, max(least, CPU_BLOCK_ROWS * row_bytes))
