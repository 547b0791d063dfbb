"""A parsed dataset split as columns in a memory-mapped Arrow table: no Python object per sample.

Columns: image (string, path below the root), identity (int64, as published), camera (int16),
infrared (bool), captions (list of string), attributes (list of int8) and, in a packed corpus, image
(binary, the file's original bytes) and checksum (uint64, of these bytes), both null where a joined dataset is
not packed. Workers share the mapped pages; besides them a corpus holds two index arrays of 8 bytes per
image each, mapped as well until rows are selected.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tpr.data.samples.sample import DatasetTask, Split
from tpr.errors import DataError, first_line

IndexArray = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MAPPED_RUNS = 4096
"""A selection of at most this number of runs of neighbouring rows stays mapped; others are copied."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """One split of one dataset, or of several joined."""

    name: str
    """Dataset name; joined datasets are joined by '+'."""
    split: Split
    root: Path
    """The data root that image paths are relative to."""
    table: pa.Table
    """The columns; N rows, one per image."""
    identity: IndexArray
    """(N,) identities: 0..C-1 in training splits, as published elsewhere."""
    caption_offsets: IndexArray
    """(N + 1,) running caption number at which each image's captions start."""
    has_identities: bool
    """False where the dataset has no person labels (each image is its own class)."""
    fingerprint: str
    """Changes whenever the annotation files, the adapter or its options do; keys the token cache."""
    files: tuple[Path, ...] = ()
    """Arrow files that hold the columns, one after another; empty: the table lives in memory alone."""
    rows: IndexArray | None = None
    """(N,) rows of these files that the table shows; absent: all of them in order."""
    task: DatasetTask = DatasetTask()
    """How the dataset is measured; of joined datasets, that of the first."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is not forked maps the files again instead of receiving the columns."""
        state = dict(self.__dict__)
        if self.files:
            del state["table"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["files"]:
            table = map_files(state["files"])
            state["table"] = table if state["rows"] is None else take_rows(table, state["rows"])
        self.__dict__.update(state)

    @property
    def caption_count(self) -> int:
        """Captions of all images together."""
        return int(self.caption_offsets[-1])

    @property
    def identity_count(self) -> int:
        """Distinct identities."""
        if self.split == "train":
            return int(self.identity.max(initial=-1)) + 1
        return int(len(np.unique(self.identity)))

    def image_path(self, row: int) -> str:
        """Path of one image below the root."""
        return str(self.table.column("image")[row].as_py())

    def captions(self, row: int) -> list[str]:
        """All captions of one image."""
        return list(self.table.column("captions")[row].as_py())

    def cameras(self) -> IndexArray:
        """(N,) camera of each image, -1 where unknown."""
        cameras: IndexArray = self.table.column("camera").to_numpy().astype(np.int64)
        return cameras

    def infrared(self) -> Flags:
        """(N,) True for infrared images."""
        flags: Flags = self.table.column("infrared").to_numpy().astype(np.bool_)
        return flags

    def roles(self) -> "npt.NDArray[np.str_] | None":
        """(N,) role of each image, None where every image is both query and gallery."""
        if "role" not in self.table.column_names:
            return None
        return np.array(self.table.column("role").to_pylist(), dtype=np.str_)

    def caption_owners(self) -> IndexArray:
        """(captions,) row of the image that each caption describes."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.caption_offsets))

    def select(self, rows: IndexArray, *, name: str | None = None, split: Split | None = None) -> "Corpus":
        """The same corpus with only these rows, in this order; training identities are numbered anew."""
        rows = np.asarray(rows, dtype=np.int64)
        identity = self.identity[rows]
        split = split or self.split
        if split == "train":
            identity = number_identities(identity)
        lengths = np.diff(self.caption_offsets)[rows]
        return replace(
            self,
            name=name or self.name,
            split=split,
            table=take_rows(self.table, rows),
            identity=identity,
            caption_offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
            fingerprint=f"{self.fingerprint}[{hash_rows(rows)}]",
            rows=rows if self.rows is None else self.rows[rows],
        )


def number_identities(identity: IndexArray) -> IndexArray:
    """(N,) the same identities as 0..C-1 in ascending order of the given numbers."""
    return np.unique(identity, return_inverse=True)[1].reshape(-1).astype(np.int64)


def map_files(files: Sequence[Path]) -> pa.Table:
    """Arrow files as one table whose columns stay on disk until they are read."""
    try:
        tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in files]
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{files[0].parent}: the Arrow files cannot be read ({first_line(error)})") from None


def take_rows(table: pa.Table, rows: IndexArray) -> pa.Table:
    """These rows in this order: slices of the mapped columns where the runs are few, else a copy."""
    if not len(rows):
        return table.slice(0, 0)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(rows) != 1) + 1])
    if len(starts) <= MAPPED_RUNS:
        lengths = np.diff(np.append(starts, len(rows)))
        firsts = rows[starts]
        return pa.concat_tables(
            [table.slice(int(first), int(length)) for first, length in zip(firsts, lengths, strict=True)]
        )
    if np.all(np.diff(rows) > 0):
        return _take_ascending(table, rows)
    return table.take(pa.array(rows))


def _take_ascending(table: pa.Table, rows: IndexArray) -> pa.Table:
    """Batch by batch: a take over all chunks at once overflows its 32-bit text offsets at 2 GiB."""
    taken = []
    start = 0
    for batch in table.to_batches():
        first, last = np.searchsorted(rows, [start, start + batch.num_rows])
        if last > first:
            taken.append(batch.take(pa.array(rows[first:last] - start)))
        start += batch.num_rows
    return pa.Table.from_batches(taken)


def offsets_of(captions: pa.ChunkedArray) -> IndexArray:
    """(N + 1,) running number of each image's first caption, and the total at the end."""
    lengths = pc.list_value_length(captions).to_numpy()
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def hash_rows(rows: IndexArray) -> str:
    """Short name of a selection of rows."""
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:12]


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Several training corpora as one; identities of later ones follow those of earlier ones."""
    if len(corpora) == 1:
        return corpora[0]
    roots = {corpus.root for corpus in corpora}
    if len(roots) != 1:
        raise DataError(f"joined datasets must share one data root, got {sorted(map(str, roots))}")
    shifts = np.cumsum([0] + [int(corpus.identity.max()) + 1 for corpus in corpora[:-1]])
    table = pa.concat_tables([corpus.table for corpus in corpora], promote_options="default")
    files, rows = _join_files(corpora)
    return replace(
        corpora[0],
        name="+".join(corpus.name for corpus in corpora),
        table=table,
        identity=np.concatenate([c.identity + shift for c, shift in zip(corpora, shifts, strict=True)]),
        caption_offsets=_join_offsets(corpora),
        has_identities=all(corpus.has_identities for corpus in corpora),
        fingerprint="+".join(corpus.fingerprint for corpus in corpora),
        files=files,
        rows=rows,
    )


def _join_offsets(corpora: Sequence[Corpus]) -> IndexArray:
    totals = np.cumsum([0] + [corpus.caption_count for corpus in corpora[:-1]])
    starts = [corpus.caption_offsets[:-1] + total for corpus, total in zip(corpora, totals, strict=True)]
    return np.concatenate([*starts, [totals[-1] + corpora[-1].caption_count]]).astype(np.int64)


def _join_files(corpora: Sequence[Corpus]) -> tuple[tuple[Path, ...], IndexArray | None]:
    if not all(corpus.files for corpus in corpora):
        return (), None
    files = tuple(path for corpus in corpora for path in corpus.files)
    if all(corpus.rows is None for corpus in corpora):
        return files, None
    rows, shift = [], 0
    for corpus in corpora:
        stored = map_files(corpus.files).num_rows
        rows.append((np.arange(stored, dtype=np.int64) if corpus.rows is None else corpus.rows) + shift)
        shift += stored
    return files, np.concatenate(rows)
