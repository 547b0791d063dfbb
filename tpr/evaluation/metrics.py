"""R@1, R@5, R@10, mAP and mINP from features and identities, exactly and in little memory.

`rank_queries` gives one row per query; rows of several processes are joined by `concatenate` and averaged by
`summarise`, so that a distributed evaluation returns the very numbers of one process. This file knows
features and identities, nothing of models or datasets.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.errors import DataError
from tpr.evaluation.ranks import Gallery, Ranked, rank_matches, unit_scale
from tpr.evaluation.ties import Expected, expect_ties, expect_untied, group_matches, join_expected

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any] | Tensor
CPU_BLOCK_BYTES = (8 * 2**20, 24 * 2**20)
CPU_BLOCK_ROWS = 320
CUDA_BLOCK_BYTES = 256 * 2**20
MEASURES = ("r1", "r5", "r10", "map", "minp")


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Retrieval quality in percent over the queries that have a match."""

    r1: float
    """Share of queries whose first result is a match."""
    r5: float
    """Share with a match among the first five."""
    r10: float
    """Share with a match among the first ten."""
    map: float
    """Mean average precision, not interpolated."""
    minp: float
    """Mean inverse negative penalty: matches divided by the rank of the last one."""
    queries: int
    """Queries averaged over."""
    unmatched: int = 0
    """Queries left out because the gallery holds no match."""
    r20: float | None = None
    """Share with a match among the first twenty; on visible-infrared sets alone."""

    def __post_init__(self) -> None:
        for name in (*MEASURES, *(["r20"] if self.r20 is not None else [])):
            value = getattr(self, name)
            if not (math.isfinite(value) and -1e-9 <= value <= 100 + 1e-9):
                raise ValueError(f"{name} must lie in [0, 100], got {value}")
        if not self.r1 <= self.r5 + 1e-9 <= self.r10 + 2e-9:
            raise ValueError(f"R@1, R@5 and R@10 must not fall, got {self.r1}, {self.r5}, {self.r10}")


@dataclass(frozen=True, eq=False)
class QueryResults:
    """What each query found, in query order; queries without a match have `first` 0."""

    first: npt.NDArray[np.int64]
    """(Q,) rank of the first match, from 1."""
    average_precision: npt.NDArray[np.float64]
    """(Q,) in [0, 1]: mean over matches of (matches so far / rank)."""
    inverse_penalty: npt.NDArray[np.float64]
    """(Q,) in [0, 1]: matches / rank of the last."""
    identity: npt.NDArray[np.int64]
    """(Q,) identity of the query."""
    expected: Expected | None = None
    """Measures expected over the orders of equal scores; None where no score ties with a match."""

    def measures(self) -> npt.NDArray[np.float64]:
        """(queries with a match, 5) percent in the order of `MEASURES`."""
        matched = self.first > 0
        first = self.first[matched]
        columns = [(first <= k).astype(np.float64) for k in (1, 5, 10)]
        columns += [self.average_precision[matched], self.inverse_penalty[matched]]
        return 100.0 * np.stack(columns, axis=1)

    def expect(self) -> Expected:
        """Measures expected over the orders of equal scores; rows of queries without a match mean nothing."""
        if self.expected is not None:
            return self.expected
        return expect_untied(self.first, self.average_precision, self.inverse_penalty)

    def put_ties(self, parts: Sequence[tuple[npt.NDArray[np.int64], Expected]]) -> "QueryResults":
        """The same results with what is expected of some rows, whose scores tie."""
        if not parts:
            return self
        expected = self.expect()
        for rows, part in parts:
            expected.put(rows, part)
        return replace(self, expected=expected)


def retrieval_metrics(
    queries: Array,
    gallery: Array,
    query_identity: Array,
    gallery_identity: Array,
    *,
    chunk_bytes: int | None = None,
) -> Metrics:
    """Ranks the gallery by cosine for every query and averages over queries.

    queries: (Q, D), gallery: (G, D), of any length, numpy or torch, on any device. query_identity: (Q,),
    gallery_identity: (G,) integers. Equal scores keep gallery order. chunk_bytes: size of one block of
    scores; absent: 8 to 24 MiB on a CPU, 256 MiB on a GPU. Queries without a match are left out,
    counted, and named in one warning. Raises TrainingError for features that are not finite and DataError
    where no query has a match.
    Source: IRRA, CVPR 2023, official `utils/metrics.py`. Differs: stable order, float64 sums.
    """
    return summarise(
        rank_queries(queries, gallery, query_identity, gallery_identity, chunk_bytes=chunk_bytes)
    )


def rank_queries(
    queries: Array,
    gallery: Array,
    query_identity: Array,
    gallery_identity: Array,
    *,
    chunk_bytes: int | None = None,
) -> QueryResults:
    """One row per query; arguments as `retrieval_metrics`. Memory: one block of scores at a time."""
    query_rows, gallery_rows = _to_features(queries, "query"), _to_features(gallery, "gallery")
    identity = _to_identity(query_identity, len(query_rows), "query")
    gallery_ids = _to_identity(gallery_identity, len(gallery_rows), "gallery")
    if query_rows.shape[1] != gallery_rows.shape[1]:
        raise ValueError(f"queries have {query_rows.shape[1]} columns, the gallery {gallery_rows.shape[1]}")
    dtype = torch.promote_types(query_rows.dtype, gallery_rows.dtype)
    device = gallery_rows.device
    row_bytes = max(1, len(gallery_rows)) * dtype.itemsize
    block_bytes = chunk_bytes or _block_bytes(device, row_bytes)
    block = torch.empty(max(1, block_bytes // row_bytes), len(gallery_rows), dtype=dtype, device=device)
    prepared = Gallery(gallery_rows.to(dtype), unit_scale(gallery_rows, "gallery"), block)
    scale = unit_scale(query_rows, "query")
    order = np.argsort(gallery_ids, kind="stable")
    start = np.searchsorted(gallery_ids[order], identity)
    count = np.searchsorted(gallery_ids[order], identity, side="right") - start
    first = np.zeros(len(identity), dtype=np.int64)
    average_precision, inverse_penalty = np.zeros(len(identity)), np.zeros(len(identity))
    ties = []
    with torch.inference_mode(), _full_precision(device):
        for rows in _cut_queries(count, row_bytes, block_bytes):
            chosen = torch.from_numpy(rows).to(query_rows.device)
            unit = (query_rows[chosen].double() * scale[chosen, None]).to(device)
            slots = np.arange(count[rows].max())
            valid = slots < count[rows, None]
            positives = order[start[rows, None] + np.where(valid, slots, 0)]
            ranked = rank_matches(
                unit, prepared, torch.from_numpy(positives).to(device), torch.from_numpy(valid).to(device)
            )
            sums = _sum_ranks(ranked.rank.cpu().numpy(), valid, count[rows])
            first[rows], average_precision[rows], inverse_penalty[rows] = sums
            ties += _expect_tied_rows(rows, ranked, valid, len(gallery_rows))
    return QueryResults(first, average_precision, inverse_penalty, identity).put_ties(ties)


def concatenate(parts: Sequence[QueryResults]) -> QueryResults:
    """Rows of several shards of queries as one, in the order given."""
    first = np.concatenate([part.first for part in parts])
    average_precision = np.concatenate([part.average_precision for part in parts])
    inverse_penalty = np.concatenate([part.inverse_penalty for part in parts])
    identity = np.concatenate([part.identity for part in parts])
    is_tied = any(part.expected is not None for part in parts)
    expected = join_expected([part.expect() for part in parts]) if is_tied else None
    return QueryResults(first, average_precision, inverse_penalty, identity, expected)


def summarise(results: QueryResults, label: str = "") -> Metrics:
    """Means in percent; warns of queries without a match, and raises DataError where all are.

    label: what is measured, in front of these messages.
    """
    metrics = average_queries(results, label)
    if metrics.unmatched:
        place, total = f"{label}: " if label else "", len(results.first)
        lost = metrics.unmatched
        logger.warning("%s%d of %d queries have no match in the gallery and are left out", place, lost, total)
    return metrics


def average_queries(results: QueryResults, label: str = "") -> Metrics:
    """`summarise` without the warning."""
    total, matched = len(results.first), int((results.first > 0).sum())
    if not matched:
        place = f"{label}: " if label else ""
        raise DataError(
            f"{place}none of {total} queries has a match in the gallery: nothing can be measured; "
            "check that queries and gallery come from the same split and share identities"
        )
    means = results.measures().mean(axis=0)
    values = dict(zip(MEASURES, means.tolist(), strict=True))
    return Metrics(**values, queries=matched, unmatched=total - matched)


def _sum_ranks(
    ranks: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_], count: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """First rank, average precision and inverse penalty of each query from its matches' ranks (R, P)."""
    ordered = np.sort(np.where(valid, ranks, np.iinfo(np.int64).max), axis=1)
    found = np.arange(1, ordered.shape[1] + 1)
    # A running sum goes from left to right: padding, which depends on the block, cannot change its bits.
    precision = np.cumsum(np.where(found <= count[:, None], found / ordered, 0.0), axis=1)[:, -1] / count
    last = np.take_along_axis(ordered, count[:, None] - 1, axis=1)[:, 0]
    return ordered[:, 0], precision, count / last


def _expect_tied_rows(
    rows: npt.NDArray[np.int64], ranked: Ranked, valid: npt.NDArray[np.bool_], gallery: int
) -> list[tuple[npt.NDArray[np.int64], Expected]]:
    """Those of some query rows whose matches tie with anything, with what is expected of them."""
    tied = ranked.tied.cpu().numpy()
    chosen = np.flatnonzero(((tied > 1) & valid).any(axis=1))
    if not len(chosen):
        return []
    groups = group_matches(ranked.above.cpu().numpy()[chosen], tied[chosen], valid[chosen])
    return [(rows[chosen], expect_ties(groups, np.full(len(chosen), gallery)))]


def _cut_queries(
    count: npt.NDArray[np.int64], row_bytes: int, block_bytes: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Query rows in blocks, those with equally many matches together so that padding stays small."""
    rows = np.argsort(count, kind="stable")
    rows = rows[count[rows] > 0]
    position = 0
    while position < len(rows):
        # Eight arrays of 8 bytes per match stand beside a row of scores; the last row has the most matches.
        size = max(1, block_bytes // (row_bytes))
        most = int(count[rows[min(position + size, len(rows)) - 1]])
        size = max(1, block_bytes // (row_bytes + 64 * most))
        yield rows[position : position + size]
        position += size


def _block_bytes(device: torch.device, row_bytes: int) -> int:
    """On a CPU what its caches hold, but enough rows that the product does not wait for the gallery."""
    if device.type == "cuda":
        return CUDA_BLOCK_BYTES
    least, most = CPU_BLOCK_BYTES
    return min(most, max(least, CPU_BLOCK_ROWS * row_bytes))


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """No TF32, no bf16 products and no autocast: reduced products would change ranks."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _to_features(features: Array, side: str) -> Tensor:
    """(N, D) float32, or float64 where the caller's are, without a copy where possible."""
    if isinstance(features, np.ndarray):
        features = torch.from_numpy(features if features.flags.writeable else features.copy())
    if features.ndim != 2:
        raise ValueError(f"{side} features must be (N, D), got shape {tuple(features.shape)}")
    return features.detach() if features.dtype == torch.float64 else features.detach().float()


def _to_identity(identity: Array, rows: int, side: str) -> npt.NDArray[np.int64]:
    values = identity.detach().cpu().numpy() if isinstance(identity, Tensor) else np.asarray(identity)
    if values.shape != (rows,):
        raise ValueError(f"{side} identities must be ({rows},), one per feature, got {values.shape}")
    return values.astype(np.int64)
