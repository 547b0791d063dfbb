"""Who searches whom, by which rule, and what each query finds: one exact ranker for every protocol.

A search is queries, galleries and a rule. Results are one row per query, whatever the size of a block, the
device and the number of processes: shards of queries go in turn to every rank, and all ranks get all rows.
This file knows features, identities and cameras, nothing of models or datasets.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.data.tables.corpus import Flags, IndexArray
from tpr.evaluation.counting import TIE, Ranked, rank_matches
from tpr.evaluation.query_results import QueryResults, concatenate
from tpr.evaluation.scores import EXACT_BLOCK_BYTES, GivenDistances, Index, Products
from tpr.evaluation.shards import cut_queries, share_parts
from tpr.evaluation.ties import Expected, expect_person_hits, expect_ties, group_matches

NO_RANK = 2**62
"""Stands for the rank of what does not count."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Who is on the items of one side, and which cameras took them."""

    identity: IndexArray
    """(N,) identities."""
    camera: IndexArray
    """(N,) cameras, -1 where unknown."""

    @classmethod
    def of(cls, identity: IndexArray) -> "Labels":
        """Labels for rules that ask for no camera."""
        return cls(identity, np.full(len(identity), -1))

    def take(self, items: slice | IndexArray) -> "Labels":
        """Only these items."""
        return Labels(self.identity[items], self.camera[items])


def exclude_nothing(queries: Labels, gallery: Labels) -> Iterable[Index]:
    """Every query sees the whole gallery."""
    return ()


def exclude_same_camera(queries: Labels, gallery: Labels) -> Iterable[Index]:
    """Images of the same identity before the same camera do not count for one another."""
    # One number per identity and camera; cameras are 32 bits, and an unknown one may be negative.
    wanted, known = (side.identity * 2**32 + side.camera + 2**31 for side in (queries, gallery))
    order = np.argsort(known, kind="stable")
    start = np.searchsorted(known[order], wanted)
    count = np.searchsorted(known[order], wanted, side="right") - start
    rows = np.repeat(np.arange(len(wanted)), count)
    yield rows, order[np.arange(len(rows)) + np.repeat(start - np.cumsum(count) + count, count)]


@dataclass(frozen=True)
class Rule:
    """What a query must not see, and what stands before a match at R@k."""

    excluded: Callable[[Labels, Labels], Iterable[Index]] = exclude_nothing
    """Places of queries and of gallery items that do not count for one another, to index a matrix with."""
    counts: Literal["images", "identities"] = "images"
    """Each image of the gallery, or each identity once; mAP and mINP always count images."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One gallery and those who search it."""

    queries: IndexArray | slice = field(default_factory=lambda: slice(None))
    """(Q,) items of the side that searches."""
    gallery: IndexArray | slice = field(default_factory=lambda: slice(None))
    """(G,) items of the side that is searched."""


@dataclass(frozen=True, eq=False)
class Search:
    """Its results are the mean over its trials."""

    queries: Labels
    """Every item of the side that searches."""
    gallery: Labels
    """Every item of the side that is searched."""
    rule: Rule = Rule()
    cosine: bool = True
    """False: the lengths of the gallery's features count."""
    trials: tuple[Trial, ...] = (Trial(),)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of the items of one side."""

    vectors: Tensor
    """(N, D) of any length."""
    place: IndexArray | None = None
    """(items,) row of each item; absent: every item in order."""

    def take(self, items: IndexArray | slice) -> Tensor:
        """The features of these items."""
        rows = items if self.place is None else self.place[items]
        if isinstance(rows, slice):
            return self.vectors[rows]
        return self.vectors[torch.from_numpy(rows).to(self.vectors.device)]


def run_search(search: Search, queries: Encoded, gallery: Encoded) -> list[QueryResults]:
    """The results of every trial. Every rank must call it."""
    everyone = np.arange(len(search.queries.identity))
    parts = [
        (number, everyone[trial.queries][shard])
        for number, trial in enumerate(search.trials)
        for shard in cut_queries(len(everyone[trial.queries]))
    ]

    def measure(part: int) -> QueryResults:
        number, asking = parts[part]
        asked = search.trials[number].gallery
        size = EXACT_BLOCK_BYTES if search.rule.counts == "identities" else None
        scores = Products(queries.take(asking), gallery.take(asked), cosine=search.cosine, block_bytes=size)
        return rank(scores, search.queries.take(asking), search.gallery.take(asked), search.rule)

    results = zip(parts, share_parts(len(parts), measure), strict=True)
    return [concatenate([found for _, found in own]) for _, own in groupby(results, lambda pair: pair[0][0])]


def rank(
    scores: Products | GivenDistances, queries: Labels, gallery: Labels, rule: Rule = Rule()
) -> QueryResults:
    """One row per query; `first` counts as the rule says. Memory: one block of scores at a time.

    Equal scores keep gallery order.
    """
    order = np.argsort(gallery.identity, kind="stable")
    start = np.searchsorted(gallery.identity[order], queries.identity)
    count = np.searchsorted(gallery.identity[order], queries.identity, side="right") - start
    columns = group_identities(gallery.identity) if rule.counts == "identities" else None
    first = np.zeros(len(count), dtype=np.int64)
    average_precision, inverse_penalty = np.zeros(len(count)), np.zeros(len(count))
    ties = []
    with torch.inference_mode(), full_precision(scores.device):
        for rows in cut_blocks(count, scores.row_bytes, scores.block_bytes):
            slots = np.arange(count[rows].max())
            valid = slots < count[rows, None]
            own = order[start[rows, None] + np.where(valid, slots, 0)]
            scores.start(rows, tuple(rule.excluded(queries.take(rows), gallery)))
            places = (torch.from_numpy(part).to(scores.device) for part in (own, valid))
            ranked = rank_matches(scores, *places, exact=columns is not None)
            first[rows], average_precision[rows], inverse_penalty[rows] = sum_ranks(ranked)
            if columns is not None:
                first[rows] = np.where(first[rows] > 0, place_identities(ranked, own, columns), 0)
            ties += [(rows[tied], expected) for tied, expected in expect_tied(ranked, own, columns)]
            del ranked  # or its scores would be kept while the next block's are made
    return QueryResults(first, average_precision, inverse_penalty, queries.identity).put_ties(ties)


def cut_blocks(count: IndexArray, row_bytes: int, block_bytes: int) -> Iterator[IndexArray]:
    """Query rows in blocks, those with equally many matches together so that padding stays small."""
    rows = np.argsort(count, kind="stable")
    rows = rows[count[rows] > 0]
    position = 0
    while position < len(rows):
        # Eight arrays of 8 bytes per match come with a row of scores; the last row has the most matches.
        size = max(1, block_bytes // row_bytes)
        most = int(count[rows[min(position + size, len(rows)) - 1]])
        size = max(1, block_bytes // (row_bytes + 64 * most))
        yield rows[position : position + size]
        position += size


def sum_ranks(ranked: Ranked) -> tuple[IndexArray, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rank of the first match, 0 without one, average precision and inverse penalty of each query."""
    rank, valid = ranked.rank.cpu().numpy(), ranked.valid.cpu().numpy()
    count = valid.sum(axis=1)
    ordered = np.sort(np.where(valid, rank, NO_RANK), axis=1)
    found = np.arange(1, ordered.shape[1] + 1)
    # A running sum goes from left to right: padding, which depends on the block, cannot change its bits.
    precision = np.cumsum(np.where(found <= count[:, None], found / ordered, 0.0), axis=1)[:, -1]
    last = np.take_along_axis(ordered, np.maximum(count - 1, 0)[:, None], axis=1)[:, 0]
    return np.where(count > 0, ordered[:, 0], 0), precision / np.maximum(count, 1), count / last


def group_identities(identity: IndexArray) -> IndexArray:
    """(I, P) columns of each identity, ascending; shorter rows repeat their last."""
    order = np.argsort(identity, kind="stable")
    _, start, count = np.unique(identity[order], return_index=True, return_counts=True)
    slots = np.minimum(np.arange(count.max(initial=1)), count[:, None] - 1)
    return order[start[:, None] + slots]


def place_identities(ranked: Ranked, own: IndexArray, columns: IndexArray) -> IndexArray:
    """(R,) places of the first matches, where what stands before them counts once per identity."""
    scores, rank = ranked.scores.cpu().numpy(), ranked.rank.masked_fill(~ranked.valid, NO_RANK).cpu().numpy()
    column = np.take_along_axis(own, rank.argmin(axis=1)[:, None], axis=1)
    best = np.take_along_axis(scores, column, axis=1)
    nearest = find_nearest(scores, columns)
    places: IndexArray = (nearest > best + TIE).sum(axis=1) + 1
    tied = np.flatnonzero((nearest >= best - TIE).sum(axis=1) > places)
    scores, column, best = scores[tied], column[tied], best[tied]
    before: Flags = (scores > best + TIE) | (scores >= best - TIE) & (np.arange(scores.shape[1]) < column)
    places[tied] = before[:, columns].any(axis=2).sum(axis=1) + 1
    return places


def find_nearest(scores: npt.NDArray[np.float64], columns: IndexArray) -> npt.NDArray[np.float64]:
    """(R, I) best score of every identity."""
    nearest = scores.take(columns[:, 0], axis=1)
    following = np.empty_like(nearest)
    for column in columns.T[1:]:
        np.maximum(nearest, scores.take(column, axis=1, out=following, mode="clip"), out=nearest)
    return nearest


def expect_tied(
    ranked: Ranked, own: IndexArray, columns: IndexArray | None
) -> Sequence[tuple[IndexArray, Expected]]:
    """Rows whose matches tie with anything, and what is expected of them; at most one pair."""
    tied, valid = ranked.tied.cpu().numpy(), ranked.valid.cpu().numpy()
    chosen = np.flatnonzero(((tied > 1) & valid).any(axis=1))
    if not len(chosen):
        return ()
    scores = ranked.scores[torch.from_numpy(chosen).to(ranked.scores.device)]
    groups = group_matches(ranked.above.cpu().numpy()[chosen], tied[chosen], valid[chosen])
    expected = expect_ties(groups, (scores > -torch.inf).sum(1).cpu().numpy())
    if columns is None:
        return ((chosen, expected),)
    values = scores.cpu().numpy()
    best = np.where(valid[chosen], np.take_along_axis(values, own[chosen], axis=1), -np.inf).max(axis=1)
    person = np.empty(values.shape[1], dtype=np.int64)
    person[columns] = np.arange(len(columns))[:, None]
    is_above = find_nearest(values, columns) > best[:, None] + TIE
    rows, places = np.nonzero(np.abs(values - best[:, None]) <= TIE)
    equal = np.bincount(rows * len(columns) + person[places], minlength=is_above.size).reshape(is_above.shape)
    equal[is_above] = 0
    equal[np.arange(len(chosen)), person[own[chosen, 0]]] = 0
    hits = expect_person_hits(is_above.sum(1), equal, groups.matches[groups.first])
    return ((chosen, replace(expected, hits=hits)),)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No TF32, no bf16 products and no autocast: reduced products would change ranks."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
