"""R@k, mAP and mINP of visible-infrared protocols from distances, identities and cameras, exactly.

Whole blocks of queries are ranked at once, without a gallery order: a match's rank is one more than the
number of images that are nearer. SYSU-MM01 and LLCM count persons for R@k (the images of a person before
the first match are one) and images for mAP and mINP; RegDB counts images throughout. This file knows
nothing of models or datasets.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.data.samples.sample import Protocol
from tpr.data.tables.corpus import Flags, IndexArray
from tpr.errors import TrainingError
from tpr.evaluation.metrics import Array, Metrics, QueryResults, average_queries
from tpr.evaluation.protocols import Images, find_excluded
from tpr.evaluation.ranks import TIE, count_by_comparing
from tpr.evaluation.ties import Expected, TieGroups, expect_person_hits, expect_ties, group_matches

CROSS_MEASURES = ("r1", "r5", "r10", "r20", "map", "minp")
NO_RANK = 2**62
"""Stands for the rank of what does not count."""
BLOCK_BYTES = 2**20
"""Size of one block of distances, which several passes should find in a cache."""

Scores = npt.NDArray[np.floating[Any]]


def visible_infrared_metrics(
    distance: Array,
    query_identity: Array,
    gallery_identity: Array,
    query_camera: Array,
    gallery_camera: Array,
    protocol: Protocol,
) -> Metrics:
    """Ranks the gallery by distance for every query, by the rules of one set, and averages over queries.

    distance: (Q, G), smaller is nearer, numpy or torch. Identities and cameras: (Q,) and (G,) integers.
    Equal distances keep gallery order. A query whose matches the rules all drop is left out and counted.
    Raises TrainingError for distances that are not finite and DataError where no query has a match.
    Source: TVI-LFM, official `tools/eval_metrics.py`. Differs: stable order, float64 sums, and LLCM's rule
    for every kind of query; a query without a match is left out of R@k, where it added nothing as well.
    """
    matrix = distance.detach().cpu().numpy() if isinstance(distance, Tensor) else np.asarray(distance)
    matrix = matrix if matrix.dtype == np.float32 else matrix.astype(np.float64, copy=False)
    queries = Images(_to_numbers(query_identity), _to_numbers(query_camera))
    gallery = Images(_to_numbers(gallery_identity), _to_numbers(gallery_camera))
    sizes = (len(queries.identity), len(gallery.identity))
    if matrix.shape != sizes or sizes != (len(queries.camera), len(gallery.camera)):
        raise ValueError(f"distances {matrix.shape} do not fit identities {sizes} or their cameras")
    return summarise_trials([rank_by_protocol(matrix, queries, gallery, protocol)])[0]


def rank_by_protocol(distance: Scores, queries: Images, gallery: Images, protocol: Protocol) -> QueryResults:
    """One row per query. distance: (Q, G), float32 or float64.

    `first` is the place of the first match among persons (SYSU-MM01, LLCM) or images (RegDB).
    """
    if not np.isfinite(distance.sum()):
        raise TrainingError(
            "distances between queries and gallery are not finite; the weights have diverged or the "
            "arithmetic overflowed: lower optim.lr, or set runtime.precision=float32"
        )
    people, matches = group_people(gallery.identity)
    person = np.minimum(np.searchsorted(people, queries.identity), len(people) - 1)
    is_known = people[person] == queries.identity
    first = np.zeros(len(person), dtype=np.int64)
    average_precision, inverse_penalty = np.zeros(len(person)), np.zeros(len(person))
    ties = []
    step = max(1, BLOCK_BYTES // max(1, distance.shape[1] * distance.itemsize))
    for start in range(0, len(person), step):
        rows = slice(start, start + step)
        block = -distance[rows]
        for excluded in find_excluded(protocol, queries.take(rows), gallery):
            block[excluded] = -np.inf
        own = matches[person[rows]]
        ranks, places, tied = rank_block(block, own, None if protocol == "regdb" else matches)
        ranks[:, ~is_known[rows]] = NO_RANK
        first[rows] = np.where(ranks.min(0) < NO_RANK, places, 0)
        average_precision[rows], inverse_penalty[rows] = _average_ranks(ranks)
        ties += [(start + chosen, expected) for chosen, expected in tied]
    return QueryResults(first, average_precision, inverse_penalty, queries.identity).put_ties(ties)


def group_people(identity: IndexArray) -> tuple[IndexArray, IndexArray]:
    """(I,) people, ascending, and (I, P) the columns of each, ascending; shorter rows repeat their last."""
    order = np.argsort(identity, kind="stable")
    people, start, count = np.unique(identity[order], return_index=True, return_counts=True)
    slots = np.minimum(np.arange(count.max()), count[:, None] - 1)
    return people, order[start[:, None] + slots]


class RankedBlock(NamedTuple):
    """Where the matches of some queries stand."""

    ranks: IndexArray
    """(P, R) ranks of the own columns, from 1; `NO_RANK` for what does not count and repeated columns."""
    places: IndexArray
    """(R,) place of the first of them."""
    tied: Sequence[tuple[IndexArray, Expected]]
    """Rows whose matches tie with anything, and what is expected of them; at most one pair."""


def rank_block(scores: Scores, own: IndexArray, matches: IndexArray | None) -> RankedBlock:
    """Ranks and places of the own columns.

    scores: (R, G), higher is nearer, minus infinity where an image does not count. own: (R, P). matches:
    (I, P) columns of every person, where places are among persons.
    """
    values = np.take_along_axis(scores, own, axis=1)
    low, high = torch.from_numpy(values - TIE), torch.from_numpy(values + TIE)
    counted = count_by_comparing(torch.from_numpy(scores), low, high)
    above, near = counted.above.numpy(), counted.near.numpy()
    # Matches first: numpy reduces many short rows ten times as slowly as a few long ones.
    own, values, above, near = (np.ascontiguousarray(part.T) for part in (own, values, above, near))
    is_rank = np.isfinite(values)
    is_rank[1:] &= np.diff(own, axis=0) != 0
    ranks = np.where(is_rank, above + 1, NO_RANK)
    places, tied = ranks.min(0), ((near > 1) & is_rank).any(0)
    if matches is not None:
        nearest, best = find_nearest(scores, matches), values.max(0)[:, None]
        places = (nearest > best + TIE).sum(1) + 1
        tied |= ((nearest >= best - TIE).sum(1) > places) & is_rank.any(0)
    chosen = np.flatnonzero(tied)
    if not len(chosen):
        return RankedBlock(ranks, places, ())
    scores, own, is_rank = scores[chosen], own[:, chosen], is_rank[:, chosen]
    ranks[:, chosen], places[chosen] = settle_ties(scores, own, is_rank, matches)
    groups = group_matches(above[:, chosen].T, near[:, chosen].T, is_rank.T)
    expected = expect_ties(groups, np.isfinite(scores).sum(1))
    if matches is not None:
        persons = expect_persons(scores, values[:, chosen].max(0), groups, matches, own[0])
        expected = replace(expected, hits=persons)
    return RankedBlock(ranks, places, [(chosen, expected)])


def expect_persons(
    scores: Scores, best: Scores, groups: TieGroups, matches: IndexArray, own: IndexArray
) -> npt.NDArray[np.float64]:
    """(R, cuts) chance that the own person is among the first k persons.

    best: (R,) score of the best match. own: (R,) a column of the own person.
    """
    person = np.empty(scores.shape[1], dtype=np.int64)
    person[matches] = np.arange(len(matches))[:, None]
    is_above = find_nearest(scores, matches) > best[:, None] + TIE
    rows, columns = np.nonzero(np.abs(scores - best[:, None]) <= TIE)
    key = rows * len(matches) + person[columns]
    tied = np.bincount(key, minlength=is_above.size).reshape(is_above.shape)
    tied[is_above] = 0
    tied[np.arange(len(own)), person[own]] = 0
    return expect_person_hits(is_above.sum(1), tied, groups.matches[groups.first])


def find_nearest(scores: Scores, matches: IndexArray) -> Scores:
    """(R, I) score of the nearest image of every person; matches: (I, P) columns."""
    nearest = scores.take(matches[:, 0], axis=1)
    following = np.empty_like(nearest)
    for column in matches.T[1:]:
        np.maximum(nearest, scores.take(column, axis=1, out=following, mode="clip"), out=nearest)
    return nearest


def settle_ties(
    scores: Scores, own: IndexArray, is_rank: Flags, matches: IndexArray | None
) -> tuple[IndexArray, IndexArray]:
    """`rank_block` for rows with equal scores: what stands earlier in the gallery comes first."""
    ranks = np.stack([find_before(scores, column).sum(1) + 1 for column in own])
    ranks[~is_rank] = NO_RANK
    if matches is None:
        return ranks, ranks.min(0)
    first = np.take_along_axis(own, ranks.argmin(0)[None], axis=0)[0]
    return ranks, find_before(scores, first)[:, matches].any(2).sum(1) + 1


def find_before(scores: Scores, column: IndexArray) -> Flags:
    """(R, G) True for images that come before the one in `column` ((R,)) of their row."""
    value = np.take_along_axis(scores, column[:, None], axis=1)
    is_tied = (scores >= value - TIE) & (np.arange(scores.shape[1]) < column[:, None])
    before: Flags = (scores > value + TIE) | is_tied
    return before


def summarise_trials(trials: Sequence[QueryResults], label: str = "") -> tuple[Metrics, dict[str, float]]:
    """Means over trials in percent, and the sample deviation of each of `CROSS_MEASURES` over them.

    The deviations are empty where there is a single trial. Raises DataError where no query has a match.
    """
    found = [_average_trial(trial, label) for trial in trials]
    values = {name: [getattr(metrics, name) for metrics in found] for name in CROSS_MEASURES}
    metrics = Metrics(
        **{name: fmean(column) for name, column in values.items()},
        queries=min(metrics.queries for metrics in found),
        unmatched=max(metrics.unmatched for metrics in found),
    )
    return metrics, {name: stdev(column) for name, column in values.items() if len(trials) > 1}


def _average_trial(trial: QueryResults, label: str) -> Metrics:
    matched = trial.first[trial.first > 0]
    metrics = average_queries(trial, label)
    return replace(metrics, r20=100 * float((matched <= 20).mean()))


def _average_ranks(ranks: IndexArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(R,) average precision and (R,) inverse penalty from ranks ((P, R)), `NO_RANK` where there is none."""
    is_match = ranks < NO_RANK
    count = np.maximum(is_match.sum(0), 1)
    found = np.stack([(ranks <= rank).sum(0) for rank in ranks])
    # From the first to the last, so that padding, which depends on the gallery, cannot change the bits.
    precision = np.cumsum(np.where(is_match, found / ranks, 0.0), axis=0)[-1] / count
    last = np.where(is_match, ranks, 0).max(0)
    return precision, np.where(last > 0, count / np.maximum(last, 1), 0.0)


def _to_numbers(values: Array) -> IndexArray:
    numbers = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return numbers.astype(np.int64)
