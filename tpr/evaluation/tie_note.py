"""What a table says below a row where equal scores, and with them gallery order, decide its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tpr.evaluation.query_results import RETRIEVAL, QueryResults

LEAST_SHARE = 1.0
"""Percent of a query's scores, in the mean over queries, above which ties are told of."""


@dataclass(frozen=True)
class Ties:
    """Equal scores in a row of a table, in percent."""

    share: float
    """Part of the gallery that is no match and has exactly the score of one of a query's matches; mean over
    the queries with a match."""
    expected: Mapping[str, float]
    """The row's measures as means over all orders of equal scores: chance, where all scores are equal."""

    def __post_init__(self) -> None:
        wrong = [value for value in (self.share, *self.expected.values()) if not -1e-6 <= value <= 100 + 1e-6]
        if wrong:
            raise ValueError(f"shares and measures of ties must lie in [0, 100], got {wrong[0]}")


def find_ties(trials: Sequence[QueryResults], measures: Sequence[str]) -> Ties | None:
    """What is to be told of ties in a row, which is the mean over its trials; None where there are few.

    measures: names of `RETRIEVAL` that the row shows.
    """
    if all(trial.expected is None for trial in trials):
        return None
    found = [_average_trial(trial) for trial in trials]
    share = fmean(trial["share"] for trial in found)
    if share <= LEAST_SHARE:
        return None
    return Ties(share, {name: fmean(trial[name] for trial in found) for name in measures})


def _average_trial(trial: QueryResults) -> dict[str, float]:
    expected, matched = trial.expect(), trial.first > 0
    columns = [expected.share, *expected.hits.T, expected.precision, expected.penalty]
    means = [100 * float(column[matched].mean()) for column in columns]
    return dict(zip(("share", *RETRIEVAL), means, strict=True))
