"""Exact ranks of matches by counting: no gallery order is ever built.

The rank of a match is one more than the number of gallery items that score higher, or equally and come
earlier in the gallery. Scores closer than a margin are compared again in float64: ranks are those of a stable
float64 sort, whatever the block size, the device or the number of processes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.evaluation.scores import GivenDistances, Products

MARGIN = 2e-6
"""Products in float32 that differ by more are ordered right: the largest error measured, over widths of 16 to
4,096 and vectors of equal signs, is 8.2e-7."""
CROWDED = 16
"""If more than 1/CROWDED of all scores lie within a window (a collapsed model, coarse features), one float64
product of everything settles them faster than one by one."""
TIE = 1e-12
"""Scores in float64 that differ by less are equal; equal images need not come out equal to the last bit."""
COMPARED_SLOTS, COMPARED_SLOTS_ON_CPU = 32, 3
"""Up to this number of matches per query are compared and summed; beyond, sorting bare values is quicker."""
EXACT_IN_FLOAT32 = 2**24
"""Whole numbers below it are sums of ones without rounding."""
THREADED_GALLERY = 8192
"""Shorter rows are counted by one thread: the interpreter's lock costs more than a second thread brings."""

Window = tuple[int, npt.NDArray[np.int64]]
"""Number of a match (row x P + slot) and the gallery columns near it."""
Result = TypeVar("Result")


class Counted(NamedTuple):
    """Gallery items by their scores, seen from each match."""

    above: Tensor
    """(R, P) items above its window."""
    near: Tensor
    """(R, P) items within its window."""


class Ranked(NamedTuple):
    """Where the matches of a block of queries stand."""

    scores: Tensor
    """(R, G) the block, minus infinity for what is hidden."""
    valid: Tensor
    """(R, P) false for padding and hidden matches, of which the rest means nothing."""
    rank: Tensor
    """(R, P) from 1, by gallery order among equal scores."""
    above: Tensor
    """(R, P) items with a better score."""
    tied: Tensor
    """(R, P) items with the same score, the match included."""


def rank_matches(
    block: Products | GivenDistances, own: Tensor, valid: Tensor, *, exact: bool = False
) -> Ranked:
    """The rank of every match of the block at hand, and how many items tie with it.

    own: (R, P) gallery columns of the matches, any where `valid` is false. exact: return scores in float64.
    """
    if isinstance(block, Products) and not (exact or block.is_exact):
        scores = block.quick()
        valid, (low, high) = place_windows(scores, own, valid, MARGIN)
        counted = count_between(scores, low, high)
        unclear = (counted.near > 1) & valid
        if CROWDED * int((counted.near * unclear).sum()) <= scores.numel():
            found = find_within(scores, low, high, unclear)
            return Ranked(scores, valid, *_settle_pairs(block, own, unclear, counted, found))
    scores = block.exact()
    valid, (low, high) = place_windows(scores, own, valid, TIE)
    counted = count_between(scores, low, high)
    ahead = _count_ahead(scores, own, (low, high, (counted.near > 1) & valid))
    return Ranked(scores, valid, counted.above + 1 + ahead, *counted)


def place_windows(
    scores: Tensor, own: Tensor, valid: Tensor, margin: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(R, P) matches that count, and windows around their scores, beyond all scores for those that do not."""
    wanted = scores.gather(1, own)
    valid = valid & (wanted > -torch.inf)
    wanted = wanted.masked_fill(~valid, torch.inf)
    return valid, (wanted - margin, wanted + margin)


def count_between(scores: Tensor, low: Tensor, high: Tensor) -> Counted:
    """How many scores of a row lie above, and how many within each of its windows [low, high].

    scores: (R, G). low, high: (R, P).
    """
    most = COMPARED_SLOTS_ON_CPU if scores.is_cpu else COMPARED_SLOTS
    return (count_by_comparing if low.shape[1] <= most else count_by_sorting)(scores, low, high)


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
    ordered = sort_rows(scores) if scores.is_cpu else scores.sort(dim=1).values
    above = scores.shape[1] - torch.searchsorted(ordered, high.contiguous(), right=True)
    return Counted(above, scores.shape[1] - torch.searchsorted(ordered, low.contiguous()) - above)


def sort_rows(scores: Tensor) -> Tensor:
    """(R, G) rows in ascending order, on a CPU: numpy sorts many numbers at once where torch sorts pairs."""
    ordered = scores.numpy().copy()
    share_among_threads(lambda rows: ordered[rows].sort(axis=1), *ordered.shape)
    return torch.from_numpy(ordered)


def find_within(scores: Tensor, low: Tensor, high: Tensor, unclear: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) numbers of matches, row x P + slot, and (M,) columns within their windows marked by `unclear`."""
    rows, slots = torch.nonzero(unclear, as_tuple=True)
    matches = rows * low.shape[1] + slots
    least, most = low[rows, slots], high[rows, slots]
    if scores.is_cuda:
        found = [torch.empty(0, 2, dtype=torch.int64, device=scores.device)]
        for part in torch.split(torch.arange(len(rows), device=scores.device), max(1, len(scores) // 4)):
            block = scores[rows[part]]
            places = torch.nonzero((block >= least[part, None]) & (block <= most[part, None]))
            found.append(torch.stack([matches[part][places[:, 0]], places[:, 1]], dim=1))
        return torch.cat(found).unbind(1)  # type: ignore[return-value]
    # One row at a time stays in the cache: a third of the time of the whole block.
    values, numbers = scores.numpy(), rows.tolist()
    bounds = list(zip(least.tolist(), most.tolist(), strict=True))

    def find_columns(windows: slice) -> list[npt.NDArray[np.int64]]:
        return [
            np.flatnonzero((values[row] >= smallest) & (values[row] <= largest))
            for row, (smallest, largest) in zip(numbers[windows], bounds[windows], strict=True)
        ]

    parts = share_among_threads(find_columns, len(numbers), scores.shape[1])
    columns = [np.empty(0, dtype=np.int64), *chain.from_iterable(parts)]
    names = np.repeat(np.append(0, matches.numpy()), [len(places) for places in columns])
    return torch.from_numpy(names), torch.from_numpy(np.concatenate(columns))


def share_among_threads(function: Callable[[slice], Result], rows: int, gallery: int) -> list[Result]:
    """What the function gives for all rows, cut into one slice per thread where rows are long enough."""
    threads = torch.get_num_threads() if gallery >= THREADED_GALLERY else 1
    if threads == 1:
        return [function(slice(0, rows))]
    cuts = np.linspace(0, rows, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, map(slice, cuts, cuts[1:])))


def _settle_pairs(
    block: Products,
    own: Tensor,
    unclear: Tensor,
    counted: Counted,
    found: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank, items above and tied items by float64 scores of the items that were found near a match alone."""
    match, column = found
    slots = own.shape[1]
    wanted = torch.zeros(own.numel(), dtype=torch.float64, device=own.device)
    rows, places = torch.nonzero(unclear, as_tuple=True)
    wanted[rows * slots + places] = block.exact_pairs(rows, own[rows, places])
    gap = block.exact_pairs(match // slots, column) - wanted[match]
    is_tied = gap.abs() <= TIE

    def count(chosen: Tensor) -> Tensor:
        return torch.bincount(match[chosen], minlength=own.numel()).view(own.shape)

    above = counted.above + count(gap > TIE)
    ahead = count(is_tied & (column < own.flatten()[match]))
    return above + 1 + ahead, above, torch.where(unclear, count(is_tied), 1)


def _count_ahead(scores: Tensor, own: Tensor, window: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(R, P) items within the window that come earlier in the gallery than the match."""
    low, high, unclear = window
    ahead = torch.zeros_like(own)
    rows, slots = torch.nonzero(unclear, as_tuple=True)
    column = torch.arange(scores.shape[1], device=scores.device)
    step = max(1, len(scores) // 4)
    for row, slot in zip(torch.split(rows, step), torch.split(slots, step), strict=True):
        block = scores[row]
        equal = (block >= low[row, slot, None]) & (block <= high[row, slot, None])
        ahead[row, slot] = (equal & (column < own[row, slot, None])).sum(1)
    return ahead
