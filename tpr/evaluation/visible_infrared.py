"""R@k, mAP and mINP of visible-infrared protocols from distances, identities and cameras, exactly.

Ranks are counted, whole blocks of queries at once: a match's rank is one more than the number of gallery
pictures before it. SYSU-MM01 and LLCM count persons for R@k (the pictures of a person before the first match
are one) and pictures for mAP and mINP; RegDB counts pictures throughout. This file knows nothing of models
or data sets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.data.corpus import IndexArray
from tpr.data.sample import Protocol
from tpr.errors import TrainingError
from tpr.evaluation.metrics import Array, Metrics, QueryResults, average_queries
from tpr.evaluation.protocols import find_excluded
from tpr.evaluation.ranks import TIE

CROSS_MEASURES = ("r1", "r5", "r10", "r20", "map", "minp")
NO_RANK = 2**62
"""Stands for the rank of what does not count."""
BLOCK_BYTES = (2**20, 64 * 2**20)
"""Size of one block of distances on a CPU, where several passes should find it in a cache, and on a GPU."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Who is on the pictures of one side, and which cameras took them."""

    identity: IndexArray
    """(N,) persons."""
    camera: IndexArray
    """(N,) cameras."""


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
    matrix = torch.as_tensor(distance).detach()
    queries = Pictures(_to_numbers(query_identity), _to_numbers(query_camera))
    gallery = Pictures(_to_numbers(gallery_identity), _to_numbers(gallery_camera))
    sizes = (len(queries.identity), len(gallery.identity))
    if matrix.shape != sizes or sizes != (len(queries.camera), len(gallery.camera)):
        raise ValueError(f"distances {tuple(matrix.shape)} do not fit identities {sizes} or their cameras")
    return summarise_trials([rank_by_protocol(-matrix, queries, gallery, protocol)])[0]


def rank_by_protocol(
    scores: Tensor, queries: Pictures, gallery: Pictures, protocol: Protocol
) -> QueryResults:
    """One row per query. scores: (Q, G), higher is nearer, float32 or float64.

    `first` is the place of the first match among persons (SYSU-MM01, LLCM) or pictures (RegDB).
    """
    if not bool(torch.isfinite(scores).all()):
        raise TrainingError(
            "distances between queries and gallery are not finite; the weights have diverged or the "
            "arithmetic overflowed: lower optim.lr, or set runtime.precision=float32"
        )
    order = np.argsort(gallery.identity, kind="stable")
    # Pictures of a person side by side: matches are a run of columns, and so is every other person.
    place = torch.from_numpy(order).to(scores.device)
    gallery = Pictures(gallery.identity[order], gallery.camera[order])
    start = np.searchsorted(gallery.identity, queries.identity)
    end = np.searchsorted(gallery.identity, queries.identity, side="right")
    first = np.zeros(len(start), dtype=np.int64)
    average_precision, inverse_penalty = np.zeros(len(start)), np.zeros(len(start))
    for rows in _cut_rows(end - start, scores):
        columns = start[rows, None] + np.arange((end - start)[rows].max())
        valid = columns < end[rows, None]
        columns = np.where(valid, columns, 0)
        block = scores[torch.from_numpy(rows).to(scores.device)][:, place]
        own = Pictures(queries.identity[rows], queries.camera[rows])
        excluded = find_excluded(protocol, own.identity, gallery.identity, own.camera, gallery.camera)
        if excluded is not None:
            valid &= ~np.take_along_axis(excluded, columns, axis=1)
            block.masked_fill_(torch.from_numpy(excluded).to(block.device), -torch.inf)
        ranks = rank_pictures(block, place, torch.from_numpy(columns).to(block.device)).cpu().numpy()
        ranks[~valid] = NO_RANK
        average_precision[rows], inverse_penalty[rows] = _average_ranks(ranks)
        first[rows] = np.where(valid.any(1), ranks.min(1), 0)
        if protocol != "regdb":
            best = np.take_along_axis(columns, ranks.argmin(1)[:, None], axis=1)
            persons = rank_persons(block, place, torch.from_numpy(best).to(block.device), gallery.identity)
            first[rows] = np.where(valid.any(1), persons.cpu().numpy(), 0)
    return QueryResults(first, average_precision, inverse_penalty, queries.identity)


def rank_pictures(scores: Tensor, place: Tensor, columns: Tensor) -> Tensor:
    """(R, P) places, from 1, of the pictures in these columns among all pictures of their rows.

    scores: (R, G), minus infinity where a picture does not count. place: (G,) order of equal scores.
    columns: (R, P).
    """
    return torch.stack(
        [find_before(scores, place, column[:, None]).sum(1) + 1 for column in columns.unbind(1)], dim=1
    )


def rank_persons(scores: Tensor, place: Tensor, column: Tensor, identity: IndexArray) -> Tensor:
    """(R,) place, from 1, of a person among all persons. column: (R, 1) the person's first picture.

    identity: (G,) the person of each column, ascending.
    """
    ends = np.append(np.flatnonzero(np.diff(identity)), len(identity) - 1)
    running = find_before(scores, place, column).cumsum(1, dtype=torch.int32)
    running = running[:, torch.from_numpy(ends).to(scores.device)]
    return (running.diff(dim=1, prepend=torch.zeros_like(running[:, :1])) > 0).sum(1) + 1


def find_before(scores: Tensor, place: Tensor, column: Tensor) -> Tensor:
    """(R, G) True for pictures that come before the one in `column` ((R, 1)) of their row."""
    own = scores.gather(1, column)
    return (scores > own + TIE) | ((scores >= own - TIE) & (place < place[column]))


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
    """(R,) average precision and (R,) inverse penalty of rows of ranks, `NO_RANK` where there is none."""
    ordered = np.sort(ranks, axis=1)
    is_match = ordered < NO_RANK
    count = np.maximum(is_match.sum(1), 1)
    # A running sum goes from left to right: padding, which depends on the block, cannot change its bits.
    shares = np.where(is_match, np.arange(1, ordered.shape[1] + 1) / ordered, 0.0)
    last = np.take_along_axis(ordered, count[:, None] - 1, axis=1)[:, 0]
    return np.cumsum(shares, axis=1)[:, -1] / count, np.where(is_match.any(1), count / last, 0.0)


def _cut_rows(count: IndexArray, scores: Tensor) -> Iterator[IndexArray]:
    """Queries in blocks, those with equally many matches together; queries without any are left out."""
    rows = np.argsort(count, kind="stable")
    rows = rows[count[rows] > 0]
    size = max(1, BLOCK_BYTES[scores.is_cuda] // max(1, scores.shape[1] * scores.element_size()))
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _to_numbers(values: Array) -> IndexArray:
    numbers = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return numbers.astype(np.int64)
