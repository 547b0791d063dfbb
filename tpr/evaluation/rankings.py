"""The best images of single queries, for looking at."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tpr.data.tables.corpus import Flags, IndexArray


@dataclass(frozen=True, eq=False)
class Ranking:
    """One query's best images."""

    caption: str
    """The text that searched; empty where an image did alone."""
    identity: int
    """Identity of the person who is looked for."""
    rows: IndexArray
    """(K,) gallery rows, best first."""
    scores: npt.NDArray[np.float32]
    """(K,) first-stage scores."""
    hits: Flags
    """(K,) True where the image shows the person."""
    query: int | None = None
    """Row of the image that searched; None where a text did alone."""


def make_ranking(
    identity: IndexArray,
    row: int,
    found: tuple[IndexArray, npt.NDArray[np.float64]],
    *,
    caption: str = "",
    query: int | None = None,
) -> Ranking:
    """What `find_best` found for a query of one corpus. row: an image of the person who is looked for."""
    best, scores = found
    hits = identity[best] == identity[row]
    return Ranking(caption, int(identity[row]), best, scores.astype(np.float32), hits, query)


def spread_queries(count: int, queries: int) -> IndexArray:
    """Some of 0..count-1, evenly from the first to the last: not the best, not the worst."""
    return np.unique(np.linspace(0, count - 1, queries).round().astype(np.int64))
