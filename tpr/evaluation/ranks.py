"""Exact ranks of a query's matches by counting: no gallery order is ever built.

The rank of a match is one more than the number of gallery items that score higher, or equally and come
earlier in the gallery. A float32 product is exact to about 1e-7 only, and BLAS may even round equal columns
differently, so scores closer than a margin are compared again in float64: ranks are those of a stable
float64 sort, whatever the block size, the device or the number of processes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.errors import TrainingError

Result = TypeVar("Result")
Window = tuple[int, npt.NDArray[np.int64]]
"""Number of a match and the gallery rows near it."""

MARGIN = 2e-6
"""Cosines in float32 that differ by more are ordered right: the largest error measured, over widths of 16 to
4,096 and vectors of equal signs, is 8.2e-7."""
CROWDED = 16
"""Where more than one in so many of all scores lies within a window (a collapsed model, coarse features), a
float64 product of everything settles them faster than one by one."""
TIE = 1e-12
"""Scores in float64 that differ by less are equal; equal images need not come out equal to the last bit."""
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


class Found(NamedTuple):
    """Gallery items whose scores lie close to those of matches."""

    match: Tensor
    """(M,) number of the match, row by row: row x P + slot."""
    column: Tensor
    """(M,) gallery row near it, the match itself included."""


class Counted(NamedTuple):
    """Gallery items by their scores, seen from each match."""

    above: Tensor
    """(R, P) int64 items above its window."""
    near: Tensor
    """(R, P) int64 items within its window."""
    found: Found | None = None
    """What lies within the windows of more than one item, where counting came across it."""


class Ranked(NamedTuple):
    """Where matches stand."""

    rank: Tensor
    """(R, P) rank of every match, from 1, by gallery order among equal scores."""
    above: Tensor
    """(R, P) items with a better score."""
    tied: Tensor
    """(R, P) items with the same score, the match included."""


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


def rank_matches(unit: Tensor, gallery: Gallery, positives: Tensor, valid: Tensor) -> Ranked:
    """The rank of every match, and how many items tie with it.

    unit: (R, D) float64 unit queries. positives: (R, P) gallery rows of the matches, padded with any row
    where `valid` is false; what is told of padding means nothing.
    """
    if gallery.features.dtype == torch.float32:
        scores = gallery.score(unit)
        own = scores.gather(1, positives)
        low, high = own - MARGIN, own + MARGIN
        counted = count_between(scores, low, high)
        unclear = (counted.near > 1) & valid
        if CROWDED * int((counted.near * unclear).sum()) <= scores.numel():
            found = counted.found or find_within(scores, low, high, unclear)
            return _settle_pairs(unit, gallery, positives, unclear, counted._replace(found=found))
    scores = gallery.score_in_float64(unit)
    own = scores.gather(1, positives)
    low, high = own - TIE, own + TIE
    counted = count_between(scores, low, high)
    unclear = (counted.near > 1) & valid
    ahead = _settle_by_position(scores, positives, (low, high, unclear))
    return Ranked(counted.above + 1 + ahead, counted.above, counted.near)


def count_between(scores: Tensor, low: Tensor, high: Tensor) -> Counted:
    """How many scores of a row lie above, and how many within each of its windows [low, high].

    scores: (R, G). low, high: (R, P).
    """
    if low.shape[1] <= (COMPARED_SLOTS if scores.is_cuda else COMPARED_SLOTS_ON_CPU):
        return count_by_comparing(scores, low, high)
    return count_by_sorting(scores, low, high) if scores.is_cuda else count_by_rows(scores, low, high)


def count_by_comparing(scores: Tensor, low: Tensor, high: Tensor) -> Counted:
    """`count_between` in two passes over the scores per match."""
    # A CPU sums numbers three times as fast as booleans; float32 counts exactly as far as EXACT_IN_FLOAT32.
    is_exact = scores.shape[1] < EXACT_IN_FLOAT32 or scores.dtype == torch.float64
    as_numbers = is_exact and not scores.is_cuda
    marks = torch.empty_like(scores, dtype=scores.dtype if as_numbers else torch.bool)
    slots = range(low.shape[1])
    above = [torch.gt(scores, high[:, slot, None], out=marks).sum(1) for slot in slots]
    reached = [torch.ge(scores, low[:, slot, None], out=marks).sum(1) for slot in slots]
    counted = torch.stack(above, dim=1).long()
    return Counted(counted, torch.stack(reached, dim=1).long() - counted)


def count_by_sorting(scores: Tensor, low: Tensor, high: Tensor) -> Counted:
    """`count_between` by a sort of the bare values, for many matches."""
    ordered = scores.sort(dim=1).values
    above = scores.shape[1] - torch.searchsorted(ordered, high.contiguous(), right=True)
    return Counted(above, scores.shape[1] - torch.searchsorted(ordered, low.contiguous()) - above)


def count_by_rows(scores: Tensor, low: Tensor, high: Tensor) -> Counted:
    """`count_between` on a CPU for many matches, row by row; finds what lies within the windows as well.

    Reads and sorts only what reaches the row's lowest match, a part of the gallery for a fair model. Numpy
    lets other threads run meanwhile.
    """
    values, least, most = scores.numpy(), low.numpy(), high.numpy()
    bounds = np.concatenate([most, np.nextafter(least, -np.inf, dtype=least.dtype)], axis=1)
    beyond = np.empty(bounds.shape, dtype=np.int64)
    slots = least.shape[1]

    def count_rows(rows: slice) -> list[Window] | None:
        windows: list[Window] | None = []
        for row in range(rows.start, rows.stop):
            # Numbers of places and not marks: picking by marks takes numpy three times as long.
            columns = np.flatnonzero(values[row] >= least[row].min())
            kept = values[row][columns]
            result = np.subtract(len(kept), np.sort(kept).searchsorted(bounds[row], "right"), out=beyond[row])
            near = result[slots:] - result[:slots]
            if windows is None or CROWDED * near.sum() > len(values[row]) + CROWDED * slots:
                windows = None
                continue
            for slot in np.flatnonzero(near > 1).tolist():
                within = (kept >= least[row, slot]) & (kept <= most[row, slot])
                windows.append((row * slots + slot, columns[np.flatnonzero(within)]))
        return windows

    parts = share_among_threads(count_rows, len(values), scores.shape[1])
    above, reached = torch.from_numpy(beyond).chunk(2, dim=1)
    listed = None if any(part is None for part in parts) else list(chain.from_iterable(filter(None, parts)))
    return Counted(above, reached - above, None if listed is None else join_windows(listed))


def share_among_threads(function: Callable[[slice], Result], rows: int, gallery: int) -> list[Result]:
    """What the function gives for all rows, cut into one slice per thread where rows are long enough."""
    threads = torch.get_num_threads() if gallery >= THREADED_GALLERY else 1
    if threads == 1:
        return [function(slice(0, rows))]
    cuts = np.linspace(0, rows, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, map(slice, cuts, cuts[1:])))


def find_within(scores: Tensor, low: Tensor, high: Tensor, unclear: Tensor) -> Found:
    """What lies within the windows [low, high] (R, P) marked by `unclear`."""
    rows, slots = torch.nonzero(unclear, as_tuple=True)
    matches = rows * low.shape[1] + slots
    least, most = low[rows, slots], high[rows, slots]
    if scores.is_cuda:
        step = max(1, len(scores) // 4)
        found = [torch.empty(0, 2, dtype=torch.int64, device=scores.device)]
        for part in torch.split(torch.arange(len(rows), device=scores.device), step):
            block = scores[rows[part]]
            places = torch.nonzero((block >= least[part, None]) & (block <= most[part, None]))
            found.append(torch.stack([matches[part][places[:, 0]], places[:, 1]], dim=1))
        return Found(*torch.cat(found).unbind(1))
    # One row at a time stays in the cache: a third of the time of the whole block.
    values, numbers, names = scores.numpy(), rows.tolist(), matches.tolist()
    bounds = list(zip(least.tolist(), most.tolist(), strict=True))

    def find_columns(windows: slice) -> list[Window]:
        own = zip(names[windows], numbers[windows], bounds[windows], strict=True)
        return [
            (name, np.flatnonzero((values[row] >= smallest) & (values[row] <= largest)))
            for name, row, (smallest, largest) in own
        ]

    parts = share_among_threads(find_columns, len(numbers), scores.shape[1])
    return join_windows(list(chain.from_iterable(parts)))


def join_windows(windows: Sequence[Window]) -> Found:
    """Windows listed one by one as two columns."""
    columns = [np.empty(0, dtype=np.int64), *(places for _, places in windows)]
    names = np.repeat([0, *(name for name, _ in windows)], [len(places) for places in columns])
    return Found(torch.from_numpy(names), torch.from_numpy(np.concatenate(columns)))


def _settle_pairs(
    unit: Tensor, gallery: Gallery, positives: Tensor, unclear: Tensor, counted: Counted
) -> Ranked:
    """Ranks by float64 scores of the items that were found near a match alone."""
    assert counted.found is not None
    wanted = unclear.flatten()[counted.found.match]
    match, column = counted.found.match[wanted], counted.found.column[wanted]
    slots = positives.shape[1]
    own = torch.zeros(positives.numel(), dtype=unit.dtype, device=unit.device)
    rows, places = torch.nonzero(unclear, as_tuple=True)
    own[rows * slots + places] = gallery.score_pairs(unit, rows, positives[rows, places])
    gap = gallery.score_pairs(unit, match // slots, column) - own[match]
    is_tied = gap.abs() <= TIE

    def count(chosen: Tensor) -> Tensor:
        return torch.bincount(match[chosen], minlength=positives.numel()).view(positives.shape)

    above = counted.above + count(gap > TIE)
    ahead = count(is_tied & (column < positives.flatten()[match]))
    return Ranked(above + 1 + ahead, above, torch.where(unclear, count(is_tied), 1))


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
