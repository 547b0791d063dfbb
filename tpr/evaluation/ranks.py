"""Exact ranks of a query's matches by counting: no gallery order is ever built.

The rank of a match is one more than the number of gallery items that score higher, or equally and come
earlier in the gallery. A float32 product is exact to about 1e-7 only, and BLAS may even round equal columns
differently, so scores closer than a margin are compared again in float64: ranks are those of a stable
float64 sort, whatever the block size, the device or the number of processes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.errors import TrainingError

Result = TypeVar("Result")

MARGIN = 1.5e-6
"""Cosines in float32 that differ by more are ordered right: the largest error measured, over widths of 16 to
4,096 and vectors of equal signs, is 7e-7."""
TIE = 1e-12
"""Scores in float64 that differ by less are equal; equal pictures need not come out equal to the last bit."""
SLICE_ROWS = 512
"""Gallery rows turned into float64 at once."""
COMPARED_SLOTS = 32
"""Up to so many matches per query a GPU compares and sums; beyond, sorting the values reads less memory."""
COMPARED_SLOTS_ON_CPU = 8
"""The same on a CPU, where beyond it sorting what reaches the lowest match is faster."""
EXACT_IN_FLOAT32 = 2**24
"""Whole numbers below it are sums of ones without rounding."""
THREADED_GALLERY = 8192
"""Shorter rows are counted by one thread: the interpreter's lock costs more than a second thread brings."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Gallery features of any length with the factor that makes each a unit vector."""

    features: Tensor
    """(G, D) float32 or float64."""
    scale: Tensor
    """(G,) float64, one over the length."""
    block: Tensor
    """(most queries at once, G) where scores are written: fresh memory costs a tenth of the product."""

    def score(self, unit: Tensor) -> Tensor:
        """(R, G) cosines in the gallery's type for unit queries (R, D), valid until the next call."""
        scores = self.block[: len(unit)]
        torch.mm(unit.to(scores.dtype), self.features.T, out=scores)
        return scores.mul_(self.scale.to(scores.dtype))

    def score_in_float64(self, unit: Tensor) -> Tensor:
        """(R, G) cosines in float64 for unit queries (R, D) float64."""
        return torch.cat(
            [unit @ part.double().T for part in torch.split(self.features, SLICE_ROWS)], dim=1
        ).mul_(self.scale)

    def score_pairs(self, unit: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(K,) cosines in float64 of query `rows` with gallery `columns`."""
        parts = [
            torch.einsum("kd,kd->k", unit[row], self.features[column].double()) * self.scale[column]
            for row, column in zip(
                torch.split(rows, SLICE_ROWS), torch.split(columns, SLICE_ROWS), strict=True
            )
        ]
        return torch.cat(parts)


def unit_scale(features: Tensor, side: str) -> Tensor:
    """(N,) float64 one over the length of each row; raises TrainingError naming rows that are not finite."""
    parts = [torch.linalg.vector_norm(part.double(), dim=1) for part in torch.split(features, SLICE_ROWS)]
    length = torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float64)
    bad = torch.nonzero(~torch.isfinite(length))
    if len(bad):
        raise TrainingError(
            f"{len(bad)} of {len(features)} {side} features are not finite (first: row {int(bad[0])}); "
            "the weights have diverged or the arithmetic overflowed: lower optim.lr, or set "
            "runtime.precision=float32"
        )
    return length.clamp_min(1e-12).reciprocal()


def rank_matches(unit: Tensor, gallery: Gallery, positives: Tensor, valid: Tensor) -> Tensor:
    """(R, P) rank of every match, from 1.

    unit: (R, D) float64 unit queries. positives: (R, P) gallery rows of the matches, padded with any row
    where `valid` is false; ranks of padding mean nothing.
    """
    if gallery.features.dtype == torch.float32:
        scores = gallery.score(unit)
        own = scores.gather(1, positives)
        low, high = own - MARGIN, own + MARGIN
        above, near = count_between(scores, low, high)
        unclear = (near > 1) & valid
        # Many close scores (a collapsed model, coarse features) are settled faster by a float64 product.
        if 16 * int((near * unclear).sum()) <= scores.numel():
            return above + 1 + _settle_pairs(scores, unit, gallery, positives, (low, high, unclear))
    scores = gallery.score_in_float64(unit)
    own = scores.gather(1, positives)
    low, high = own - TIE, own + TIE
    above, near = count_between(scores, low, high)
    return above + 1 + _settle_by_position(scores, positives, (low, high, (near > 1) & valid))


def count_between(scores: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """How many scores of the row lie above `high`, and how many in [low, high]; both (R, P) int64.

    scores: (R, G). low, high: (R, P).
    """
    if low.shape[1] <= (COMPARED_SLOTS if scores.is_cuda else COMPARED_SLOTS_ON_CPU):
        return count_by_comparing(scores, low, high)
    return count_by_sorting(scores, low, high) if scores.is_cuda else count_by_rows(scores, low, high)


def count_by_comparing(scores: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """`count_between` in two passes over the scores per match."""
    # A CPU sums numbers three times as fast as booleans; float32 counts exactly as far as EXACT_IN_FLOAT32.
    is_exact = scores.shape[1] < EXACT_IN_FLOAT32 or scores.dtype == torch.float64
    as_numbers = is_exact and not scores.is_cuda
    marks = torch.empty_like(scores, dtype=scores.dtype if as_numbers else torch.bool)
    slots = range(low.shape[1])
    above = [torch.gt(scores, high[:, slot, None], out=marks).sum(1) for slot in slots]
    reached = [torch.ge(scores, low[:, slot, None], out=marks).sum(1) for slot in slots]
    counted = torch.stack(above, dim=1).long()
    return counted, torch.stack(reached, dim=1).long() - counted


def count_by_sorting(scores: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """`count_between` by a sort of the bare values, for many matches."""
    ordered = scores.sort(dim=1).values
    above = scores.shape[1] - torch.searchsorted(ordered, high.contiguous(), right=True)
    return above, scores.shape[1] - torch.searchsorted(ordered, low.contiguous()) - above


def count_by_rows(scores: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """`count_between` on a CPU for many matches, row by row.

    Sorts only the bare values that reach the row's lowest match, a few percent of the gallery for a fair
    model. Numpy lets other threads run while it filters and sorts.
    """
    below_low = np.nextafter(low.numpy(), -np.inf, dtype=low.numpy().dtype)
    bounds = np.concatenate([high.numpy(), below_low], axis=1)
    beyond = np.empty(bounds.shape, dtype=np.int64)
    columns = (scores.numpy(), low.amin(1).numpy(), bounds, beyond)

    def count_rows(rows: slice) -> None:
        for row, floor, bound, result in zip(*(column[rows] for column in columns), strict=True):
            kept = row[row >= floor]
            kept.sort()
            result[:] = len(kept) - kept.searchsorted(bound, "right")

    share_among_threads(count_rows, len(scores), scores.shape[1])
    above, reached = torch.from_numpy(beyond).chunk(2, dim=1)
    return above, reached - above


def share_among_threads(function: Callable[[slice], Result], rows: int, gallery: int) -> list[Result]:
    """What the function gives for all rows, cut into one slice per thread where rows are long enough."""
    threads = torch.get_num_threads() if gallery >= THREADED_GALLERY else 1
    if threads == 1:
        return [function(slice(0, rows))]
    cuts = np.linspace(0, rows, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, map(slice, cuts, cuts[1:])))


def _settle_pairs(
    scores: Tensor, unit: Tensor, gallery: Gallery, positives: Tensor, window: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """(R, P) items within the window that truly come before the match, by float64 scores of those alone."""
    low, high, unclear = window
    ahead = torch.zeros_like(positives)
    rows, slots = torch.nonzero(unclear, as_tuple=True)
    step = max(1, scores.numel() // (4 * scores.shape[1]))
    for row, slot in zip(torch.split(rows, step), torch.split(slots, step), strict=True):
        pair, column = find_within(scores, row, low[row, slot], high[row, slot])
        match = positives[row, slot]
        other = gallery.score_pairs(unit, row[pair], column)
        gap = other - gallery.score_pairs(unit, row, match)[pair]
        before = (gap > TIE) | ((gap.abs() <= TIE) & (column < match[pair]))
        ahead[row, slot] = torch.bincount(pair[before], minlength=len(row))
    return ahead


def find_within(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """For each of K windows [low, high] on rows of scores: (M,) windows from 0 and (M,) gallery columns."""
    if scores.is_cuda:
        block = scores[row]
        window, column = torch.nonzero((block >= low[:, None]) & (block <= high[:, None]), as_tuple=True)
        return window, column
    # One row at a time stays in the cache: a third of the time of the whole block.
    values, numbers, least, most = scores.numpy(), row.tolist(), low.numpy(), high.numpy()

    def find_columns(windows: slice) -> list[npt.NDArray[np.int64]]:
        bounds = zip(numbers[windows], least[windows], most[windows], strict=True)
        return [np.flatnonzero((values[n] >= a) & (values[n] <= b)) for n, a, b in bounds]

    parts = share_among_threads(find_columns, len(row), scores.shape[1])
    found = [np.empty(0, dtype=np.int64), *chain.from_iterable(parts)]
    counts = [len(columns) for columns in found]
    windows = np.repeat(np.arange(len(found)) - 1, counts)
    return torch.from_numpy(windows), torch.from_numpy(np.concatenate(found))


def _settle_by_position(scores: Tensor, positives: Tensor, window: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(R, P) items within the window that come earlier in the gallery than the match."""
    low, high, unclear = window
    ahead = torch.zeros_like(positives)
    rows, slots = torch.nonzero(unclear, as_tuple=True)
    column = torch.arange(scores.shape[1], device=scores.device)
    step = max(1, len(scores) // 4)
    for row, slot in zip(torch.split(rows, step), torch.split(slots, step), strict=True):
        block = scores[row]
        equal = (block >= low[row, slot, None]) & (block <= high[row, slot, None])
        ahead[row, slot] = (equal & (column < positives[row, slot, None])).sum(1)
    return ahead
