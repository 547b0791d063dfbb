"""What each query found, and its means: R@k, mAP and mINP in percent."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

from tpr.errors import DataError
from tpr.evaluation.ties import CUTS, Expected, expect_untied, join_expected

logger = logging.getLogger(__name__)

RETRIEVAL = ("r1", "r5", "r10", "r20", "map", "minp")
"""Measures that every search gives, by their names in `tpr.config.measures`."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Retrieval quality in percent over the queries that have a match."""

    r1: float
    """Share of queries whose first result is a match."""
    r5: float
    """Share with a match among the first five."""
    r10: float
    """Share with a match among the first ten."""
    r20: float
    """Share with a match among the first twenty."""
    map: float
    """Mean average precision, not interpolated."""
    minp: float
    """Mean inverse negative penalty: matches divided by the rank of the last one."""
    queries: int
    """Queries averaged over."""
    unmatched: int = 0
    """Queries left out because the gallery holds no match."""

    def __post_init__(self) -> None:
        for name in RETRIEVAL:
            value = getattr(self, name)
            if not (math.isfinite(value) and -1e-9 <= value <= 100 + 1e-9):
                raise ValueError(f"{name} must lie in [0, 100], got {value}")
        if not self.r1 <= self.r5 + 1e-9 <= self.r10 + 2e-9 <= self.r20 + 3e-9:
            raise ValueError(f"R@k must not fall, got {self.r1}, {self.r5}, {self.r10}, {self.r20}")


@dataclass(frozen=True, eq=False)
class QueryResults:
    """What each query found, in query order; queries without a match have `first` 0."""

    first: npt.NDArray[np.int64]
    """(Q,) place of the first match, from 1."""
    average_precision: npt.NDArray[np.float64]
    """(Q,) in [0, 1]: mean over matches of (matches so far / rank)."""
    inverse_penalty: npt.NDArray[np.float64]
    """(Q,) in [0, 1]: matches / rank of the last."""
    identity: npt.NDArray[np.int64]
    """(Q,) identity of the query."""
    expected: Expected | None = None
    """Measures expected over the orders of equal scores; None where no score ties with a match."""

    def measures(self) -> npt.NDArray[np.float64]:
        """(queries with a match, 6) percent in the order of `RETRIEVAL`."""
        matched = self.first > 0
        hits = self.first[matched, None] <= np.array(CUTS)
        quality = (self.average_precision[matched], self.inverse_penalty[matched])
        return 100.0 * np.column_stack([hits.astype(np.float64), *quality])

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


def concatenate(parts: Sequence[QueryResults]) -> QueryResults:
    """Rows of several shards of queries as one, in the order given."""
    first = np.concatenate([part.first for part in parts])
    average_precision = np.concatenate([part.average_precision for part in parts])
    inverse_penalty = np.concatenate([part.inverse_penalty for part in parts])
    identity = np.concatenate([part.identity for part in parts])
    is_tied = any(part.expected is not None for part in parts)
    expected = join_expected([part.expect() for part in parts]) if is_tied else None
    return QueryResults(first, average_precision, inverse_penalty, identity, expected)


def summarise(results: QueryResults, label: str = "", *, warn: bool = True) -> Metrics:
    """Means in percent; warns of queries without a match, and raises DataError where all are.

    label: what is measured, in front of these messages.
    """
    total, matched = len(results.first), int((results.first > 0).sum())
    place = f"{label}: " if label else ""
    if not matched:
        raise DataError(
            f"{place}none of {total} queries has a match in the gallery: nothing can be measured; "
            "check that queries and gallery come from the same split and share identities"
        )
    if warn and matched < total:
        lost = total - matched
        logger.warning("%s%d of %d queries have no match in the gallery and are left out", place, lost, total)
    means = dict(zip(RETRIEVAL, results.measures().mean(axis=0).tolist(), strict=True))
    return Metrics(**means, queries=matched, unmatched=total - matched)


def summarise_trials(
    trials: Sequence[QueryResults], label: str = "", *, warn: bool = False
) -> tuple[Metrics, dict[str, float]]:
    """Means over trials in percent, and the sample deviation of each of `RETRIEVAL` over them.

    The deviations are empty where there is a single trial. Raises DataError where no query has a match.
    """
    found = [asdict(summarise(trial, label, warn=warn)) for trial in trials]
    values = {name: [metrics[name] for metrics in found] for name in RETRIEVAL}
    metrics = Metrics(
        **{name: fmean(column) for name, column in values.items()},
        queries=min(metrics["queries"] for metrics in found),
        unmatched=max(metrics["unmatched"] for metrics in found),
    )
    return metrics, {name: stdev(column) for name, column in values.items() if len(trials) > 1}
