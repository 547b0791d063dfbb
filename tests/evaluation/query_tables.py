"""Small tables of queries whose numbers are known."""

from collections.abc import Sequence

import numpy as np

from tpr.data.tables.corpus import IndexArray
from tpr.evaluation.query_results import QueryResults
from tpr.evaluation.query_table import QueryTable, RowLabel

LABEL = RowLabel("toy", "", "text_to_image", "")


def make_table(
    first: Sequence[int] | IndexArray,
    identity: Sequence[int] | IndexArray,
    *,
    trials: int = 1,
    gallery: int = 7,
    caption: int = 0,
) -> QueryTable:
    """Query i asks by caption `caption + i` of image i; its average precision is 1 / first."""
    size = len(first) // trials
    place = np.tile(np.arange(size, dtype=np.int64), trials)
    ranks = np.asarray(first, dtype=np.int64)
    quality = np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)
    return QueryTable(
        trial=np.repeat(np.arange(trials), size),
        gallery=np.full(len(first), gallery),
        image=place,
        caption=caption + place,
        results=QueryResults(ranks, quality, quality, np.asarray(identity, dtype=np.int64)),
    )
