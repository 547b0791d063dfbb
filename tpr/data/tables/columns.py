"""Samples written as Arrow files, and the entry folder that a cache and a packed dataset have in common.

An entry is a folder with `manifest.json` and, per split, Arrow files and two index arrays:
`train-00000.arrow`, `train.identity.npy`, `train.offsets.npy`. The manifest is written last; a folder
without one is no entry.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tpr.data.images.packed import CHECKSUM, IMAGE, find_images
from tpr.data.samples.sample import Sample, Split
from tpr.data.tables.checksums import sum_file
from tpr.data.tables.corpus import Corpus, IndexArray, map_files, number_identities, offsets_of
from tpr.data.tables.manifest import MANIFEST, Manifest, SplitFiles, index_names, verify_split
from tpr.errors import DataError, first_line

ROWS_PER_BATCH = 16_384
FOOTER_BYTES = 4096
"""Room kept for an Arrow file's schema and footer when its size is limited, plus BLOCK_BYTES per batch."""
BLOCK_BYTES = 64

SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("identity", pa.int64()),
        ("camera", pa.int16()),
        ("infrared", pa.bool_()),
        ("captions", pa.list_(pa.string())),
        ("attributes", pa.list_(pa.int8())),
    ]
)
ROLE = pa.field("role", pa.string())
"""Column of splits whose queries and gallery are other images."""


def choose_schema(*, roles: bool, packed: bool = False, has_checksums: bool = True) -> pa.Schema:
    """Columns of one split of an entry."""
    schema = SCHEMA.append(ROLE) if roles else SCHEMA
    if packed:
        schema = schema.append(IMAGE)
    return schema.append(CHECKSUM) if packed and has_checksums else schema


class ShardWriter:
    """Record batches into numbered Arrow files of a limited size."""

    def __init__(self, folder: Path, split: Split, schema: pa.Schema, limit_bytes: int | None = None) -> None:
        self.folder = folder
        self.split = split
        self.schema = schema
        self.limit = limit_bytes
        self.files: list[str] = []
        self._sink: Any = None
        self._writer: Any = None
        self._batches = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; a new file is begun where this one would grow beyond the limit."""
        if self._writer is None or not self._fits(batch):
            self._begin()
        self._writer.write_batch(batch)
        self._batches += 1

    def _fits(self, batch: pa.RecordBatch) -> bool:
        if self.limit is None or not self._batches:
            return True
        footer = FOOTER_BYTES + BLOCK_BYTES * (self._batches + 1)
        return int(self._sink.tell() + pa.ipc.get_record_batch_size(batch)) + footer <= self.limit

    def _begin(self) -> None:
        self.close()
        self.files.append(f"{self.split}-{len(self.files):05d}.arrow")
        self._sink = pa.OSFile(str(self.folder / self.files[-1]), "wb")
        self._writer = pa.ipc.new_file(self._sink, self.schema)
        self._batches = 0

    def close(self) -> None:
        """Finish the file at hand and wait until it is on disk."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            sync(self.folder / self.files[-1])
            self._writer = None


class SplitWriter:
    """The samples of one split: columns in batches, and the index arrays."""

    def __init__(self, folder: Path, split: Split) -> None:
        self.shards = ShardWriter(folder, split, SCHEMA)
        self.is_begun = False
        self.samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Append one sample."""
        self.samples.append(sample)
        if len(self.samples) >= ROWS_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        """Write the samples collected so far."""
        if not self.samples:
            return
        if not self.is_begun:
            # A split has roles for all of its images or for none.
            self.shards.schema = choose_schema(roles=any(sample.role for sample in self.samples))
            self.is_begun = True
        self.shards.write(make_batch(self.samples, self.shards.schema))
        self.samples = []

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self.shards.close()


def make_batch(samples: list[Sample], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    """Samples as columns; DataError names the image whose values do not fit."""
    try:
        return pa.record_batch(_make_columns(samples, schema), schema=schema)
    except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid):
        for sample in samples:
            try:
                pa.record_batch(_make_columns([sample], schema), schema=schema)
            except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid) as error:
                image = sample.image.encode("ascii", "backslashreplace").decode()
                raise DataError(f"image '{image}': its values cannot be stored ({error})") from None
        raise


def _make_columns(samples: list[Sample], schema: pa.Schema) -> list[pa.Array]:
    values: list[list[Any]] = [
        [sample.image for sample in samples],
        [sample.identity for sample in samples],
        [sample.camera for sample in samples],
        [sample.modality == "infrared" for sample in samples],
        [sample.captions for sample in samples],
        [sample.attributes for sample in samples],
        [sample.role for sample in samples],
    ]
    return [pa.array(column, type=kind) for column, kind in zip(values, schema.types, strict=False)]


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_index(
    folder: Path,
    split: Split,
    files: list[str],
    fingerprint: str,
    *,
    labels: Mapping[int, int] | None = None,
) -> SplitFiles:
    """Write the index arrays of a split whose Arrow files are there, and return its part of the manifest.

    labels: published training number of each identity, where there are such; they must be 0..C-1.
    """
    table = map_files([folder / name for name in files])
    identity = read_identity(table)
    numbers = number_identities(identity)
    if labels and split == "train":
        numbers = np.array([labels[one] for one in np.unique(identity).tolist()])[numbers]
    offsets = offsets_of(table.column("captions"))
    identities, starts = index_names(split)
    save_array(folder / identities, numbers if split == "train" else identity)
    save_array(folder / starts, offsets)
    checksums = {name: sum_file(folder / name, find_images(folder / name)) for name in files}
    checksums |= {name: sum_file(folder / name) for name in index_names(split)}
    return SplitFiles(files, len(identity), int(offsets[-1]), int(numbers.max()) + 1, fingerprint, checksums)


def read_identity(table: pa.Table) -> IndexArray:
    """(N,) identities as published."""
    identity: IndexArray = table.column("identity").to_numpy().astype(np.int64, copy=False)
    return identity


def save_array(path: Path, array: IndexArray) -> None:
    """Write one index array to disk for good."""
    np.save(path, array, allow_pickle=False)
    sync(path)


def open_split(folder: Path, manifest: Manifest, split: Split, *, root: Path, name: str) -> Corpus:
    """One split of an entry, mapped. Raises DataError if a file is missing or damaged."""
    known = manifest.splits[split]
    # Before anything is mapped: a library that maps a damaged file may end the process.
    verify_split(folder, manifest, split)
    files = tuple((folder / file).absolute() for file in known.files)
    table = map_files(files)
    check_columns(folder, table, has_checksums=manifest.has_checksums)
    identities, starts = index_names(split)
    identity = map_array(folder / identities, known.rows)
    offsets = map_array(folder / starts, known.rows + 1)
    if not _belong_together(known, split, table, identity, offsets):
        raise DataError(f"{folder}: the files of split '{split}' do not match {MANIFEST}")
    return Corpus(
        name=name,
        split=split,
        root=root,
        table=table,
        identity=identity,
        caption_offsets=offsets,
        has_identities=manifest.has_identities,
        fingerprint=known.fingerprint,
        files=files,
    )


def _belong_together(
    known: SplitFiles, split: Split, table: pa.Table, identity: IndexArray, offsets: IndexArray
) -> bool:
    if table.num_rows != known.rows or int(offsets[-1]) != known.captions:
        return False
    if IMAGE.name not in table.column_names:
        return True  # made here, and verified
    in_range = split != "train" or (
        identity.min(initial=0) >= 0 and identity.max(initial=-1) < known.identities
    )
    return bool(in_range and np.array_equal(offsets, offsets_of(table.column("captions"))))


def check_columns(folder: Path, table: pa.Table, *, has_checksums: bool) -> None:
    """Raise DataError unless a table has an entry's columns; those of a packed dataset are looked through.

    A packed dataset may come from elsewhere, and an old one has no checksums: no text or offset is trusted.
    """
    roles = ROLE.name in table.column_names
    packed = choose_schema(roles=roles, packed=True, has_checksums=has_checksums)
    is_packed = table.schema.equals(packed)
    if not is_packed and not table.schema.equals(choose_schema(roles=roles)):
        raise DataError(f"{folder}: the Arrow files have other columns than an entry")
    if is_packed:
        try:
            table.validate(full=True)
        except pa.ArrowException as error:
            raise DataError(f"{folder}: the Arrow files are damaged ({first_line(error)})") from None
        if any(column.null_count for column in table.columns):
            raise DataError(f"{folder}: the Arrow files are damaged (a value is missing)")


def map_array(path: Path, length: int) -> IndexArray:
    """An index array whose pages are shared until somebody writes to them."""
    try:
        # Mode c maps privately: torch accepts the array without a warning, and the file never changes.
        # A plain array over the mapping: indexing numpy's own memmap class is slower.
        array: npt.NDArray[Any] = np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except Exception as error:  # numpy reads a header as Python: a damaged one raises nearly anything
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    if array.shape != (length,) or array.dtype != np.int64:
        raise DataError(f"{path}: found {array.dtype} of shape {array.shape}, expected {length} int64")
    return array
