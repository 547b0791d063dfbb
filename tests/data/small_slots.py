"""A corpus of visible and infrared images, made by the test itself."""

from pathlib import Path

import pyarrow as pa

from tests.data.small_corpus import make_corpus
from tpr.data.samples.sample import DatasetTask
from tpr.data.tables.corpus import Corpus

VISIBLE = [0, 0, 0, 1, 1, 2, 2, 2]
INFRARED = [0, 0, 1, 2, 2, 2]
"""Identities of both kinds; published they are 10 times that."""


def make_slots(
    folder: Path,
    visible: list[int] = VISIBLE,
    infrared: list[int] = INFRARED,
    captions: int | list[int] = 2,
    **facts: object,
) -> Corpus:
    """Images of both kinds one after the other, each with so many captions."""
    identity = visible + infrared
    counts = [captions] * len(identity) if isinstance(captions, int) else captions
    corpus = make_corpus(
        folder, counts, identity, task=DatasetTask("visible_infrared", "sysu", False), **facts
    )
    kinds = [False] * len(visible) + [True] * len(infrared)
    table = corpus.table.append_column("infrared", pa.array(kinds))
    table = table.append_column("camera", pa.array([1 + 2 * kind for kind in kinds], pa.int16()))
    table = table.append_column("identity", pa.array([10 * one for one in identity], pa.int64()))
    return Corpus(**{**corpus.__dict__, "table": table})
