"""The queries behind a row of the table and what each found: kept as Parquet with the means, and read back.

A file holds a line per query and trial, with the labels of its row; nothing in it is ever run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tpr.data.tables.corpus import Corpus, IndexArray, hash_rows
from tpr.errors import DataError, first_line
from tpr.evaluation.query_results import QueryResults, concatenate
from tpr.whole_files import open_whole

QUERIES_SUFFIX = ".parquet"
NO_CAPTION = -1
"""Stands for the caption of a query that is an image."""
WHOLE = ("trial", "gallery", "image", "caption", "identity", "first")
SHARES = ("average_precision", "inverse_penalty")


class RowLabel(NamedTuple):
    """What tells a row from others of one evaluation."""

    dataset: str
    search: str
    direction: str
    query: str

    def __str__(self) -> str:
        """As a person reads it."""
        words = (f"{self.dataset} {self.search}".strip(), self.direction.replace("_", " "), self.query)
        return ", ".join(word for word in words if word)


SCHEMA = pa.schema(
    [
        *((name, pa.dictionary(pa.int32(), pa.string())) for name in RowLabel._fields),
        *((name, pa.int64()) for name in WHOLE),
        *((name, pa.float64()) for name in SHARES),
    ]
)


@dataclass(frozen=True, eq=False)
class Asked:
    """The queries of one trial in their order, and a number that tells its gallery from others."""

    image: IndexArray
    """(Q,) corpus row of the image that searches, or that the caption describes."""
    caption: IndexArray
    """(Q,) running number of the caption that searches, `NO_CAPTION` for images."""
    gallery: int

    @classmethod
    def of(
        cls, corpus: Corpus, image: IndexArray, gallery: IndexArray, *, caption: IndexArray | None = None
    ) -> "Asked":
        """gallery: (G,) corpus rows that are searched, or whose captions are. caption: absent for images."""
        digest = hash_rows(np.stack([gallery, corpus.identity[gallery]]))
        return cls(image, np.full(len(image), NO_CAPTION) if caption is None else caption, int(digest, 16))


@dataclass(frozen=True, eq=False)
class QueryTable:
    """The queries of all trials of a row, one trial after another, and what they found."""

    trial: IndexArray
    """(Q,) number of the trial, from 0."""
    gallery: IndexArray
    """(Q,) what tells the trial's gallery from others."""
    image: IndexArray
    """(Q,) as `Asked` has it."""
    caption: IndexArray
    """(Q,) as `Asked` has it."""
    results: QueryResults

    @classmethod
    def join(cls, asked: Sequence[Asked], trials: Sequence[QueryResults]) -> "QueryTable":
        """Trials with their queries, one after another."""
        sizes = [len(trial.image) for trial in asked]
        return cls(
            trial=np.repeat(np.arange(len(asked)), sizes),
            gallery=np.repeat(np.array([trial.gallery for trial in asked], dtype=np.int64), sizes),
            image=np.concatenate([trial.image for trial in asked]),
            caption=np.concatenate([trial.caption for trial in asked]),
            results=replace(concatenate(trials), expected=None),
        )

    def asks_as(self, other: "QueryTable") -> bool:
        """Whether both have the same queries and galleries in the same order."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in WHOLE[:4]]
        pairs.append((self.results.identity, other.results.identity))
        pairs.append((self.results.first > 0, other.results.first > 0))
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def write_queries(path: Path, tables: Sequence[tuple[RowLabel, QueryTable]]) -> None:
    """Write the queries of these rows, whole or not at all. Raises OSError."""
    parts = [SCHEMA.empty_table()]
    for label, table in tables:
        found = table.results
        columns = {name: getattr(found if hasattr(found, name) else table, name) for name in WHOLE + SHARES}
        labels = {name: [value] * len(found.first) for name, value in label._asdict().items()}
        parts.append(pa.table(labels | columns).cast(SCHEMA))
    with open_whole(path) as file:
        pq.write_table(pa.concat_tables(parts).unify_dictionaries(), file, compression="zstd")


def read_queries(path: Path) -> dict[RowLabel, QueryTable]:
    """What `write_queries` wrote. Raises DataError in one line for anything else."""
    try:
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read().select(SCHEMA.names).cast(SCHEMA)
        return _cut_rows(table)
    except (OSError, pa.ArrowException, ValueError, KeyError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise DataError(
            f"{path}: not the queries of an evaluation ({reason}); write them anew with "
            f"`tpr evaluate CHECKPOINT --queries FILE.parquet`"
        ) from None


def _cut_rows(table: pa.Table) -> dict[RowLabel, QueryTable]:
    """The rows of a file by their labels. Raises ValueError for numbers that no evaluation gives."""
    if any(column.null_count for column in table.columns):
        raise ValueError("empty cells in it")
    columns = {name: table.column(name).to_numpy() for name in WHOLE + SHARES}
    if any(columns[name].min(initial=0) < least for name, least in (("image", 0), ("caption", NO_CAPTION))):
        raise ValueError("images or captions below zero")
    shares = [columns[name] for name in SHARES]
    if columns["first"].min(initial=0) < 0 or not all(((part >= 0) & (part <= 1)).all() for part in shares):
        raise ValueError("ranks below zero or shares outside [0, 1]")
    labels = zip(*(table.column(name).to_pylist() for name in RowLabel._fields), strict=True)
    places: dict[RowLabel, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(RowLabel(*label), []).append(place)
    found = {}
    for label, rows in places.items():
        own = {name: column[rows] for name, column in columns.items()}
        shares = [own[name] for name in SHARES]
        results = QueryResults(own["first"], shares[0], shares[1], own["identity"])
        if not (results.first > 0).any():
            raise ValueError(f"no query of {label} has a match")
        found[label] = QueryTable(own["trial"], own["gallery"], own["image"], own["caption"], results)
    return found
