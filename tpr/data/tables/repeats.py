"""Images that an annotation names more than once, such as in a line per caption, become one row each.

Whether there are any is found by a hash of each path, which costs 8 bytes a row; only then is a table
written anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tpr.data.adapters.base import Adapter
from tpr.data.samples.sample import Sample, Split
from tpr.data.tables.columns import SplitWriter
from tpr.data.tables.corpus import IndexArray, map_files, take_rows
from tpr.errors import DataError

ROWS_AT_ONCE = 16_384


def join_repeats(adapter: Adapter, folder: Path, files: Mapping[Split, list[str]]) -> dict[Split, int]:
    """Make one row of each image's rows in an entry; returns how many rows of each split were joined.

    files: the file of each split. Raises DataError where rows of an image differ in more than captions.
    """
    tables = {split: map_files([folder / name for name in names]) for split, names in files.items()}
    hashes = {split: hash_images(table) for split, table in tables.items()}
    refuse_shared(tables, hashes)
    repeats = dict.fromkeys(files, 0)
    for split, table in tables.items():
        first = find_first_rows(hashes[split])
        if first is None:
            continue
        with rewrite(folder, split, files[split]) as writer:
            for sample in join_rows(table, first, has_identities=adapter.has_identities):
                writer.add(sample)
        repeats[split] = table.num_rows - len(np.unique(first))
        adapter.notes.append(
            f"{split}: {repeats[split]:,} records name an image again; their captions were joined to it"
        )
    return repeats


@contextmanager
def rewrite(folder: Path, split: Split, files: Sequence[str]) -> Iterator[SplitWriter]:
    """A writer whose one file takes the place of a split's one file when the block ends."""
    part = folder / "rewritten"
    part.mkdir()
    writer = SplitWriter(part, split)
    yield writer
    writer.close()
    (part / writer.shards.files[0]).replace(folder / files[0])
    part.rmdir()


def hash_images(table: pa.Table) -> IndexArray:
    """(N,) hash of each row's path, good in this process alone; two paths share one with 1 : 10^19."""
    chunks = table.column("image").chunks
    hashes = (hash(image) for chunk in chunks for image in chunk.to_pylist())
    return np.fromiter(hashes, np.int64, table.num_rows)


def find_first_rows(hashes: IndexArray) -> IndexArray | None:
    """(N,) row that named each row's image first; None where each image has one row."""
    known, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return None if len(known) == len(hashes) else first[inverse.reshape(-1)].astype(np.int64)


def refuse_shared(tables: Mapping[Split, pa.Table], hashes: Mapping[Split, IndexArray]) -> None:
    """Raise DataError where two splits hold the same image."""
    splits = list(tables)
    for number, split in enumerate(splits):
        for other in splits[:number]:
            row = np.flatnonzero(np.isin(hashes[split], hashes[other]))
            if len(row):
                image = tables[split].column("image")[int(row[0])].as_py()
                raise DataError(
                    f"the image {image!r} stands in the splits {other} and {split}; leave it in one of them"
                )


def join_rows(table: pa.Table, first: IndexArray, *, has_identities: bool) -> Iterator[Sample]:
    """One sample for each image, where it comes first. first: (N,) of `find_first_rows`."""
    order = np.argsort(first, kind="stable")
    starts = np.append(np.flatnonzero(np.diff(first[order], prepend=-1)), len(order))
    step = ROWS_AT_ONCE
    for begin in range(0, len(starts) - 1, step):
        bounds = starts[begin : begin + step + 1]
        rows = order[bounds[0] : bounds[-1]]
        ascending = np.sort(rows)
        samples = read_samples(take_rows(table, ascending))
        ranked = [samples[place] for place in np.searchsorted(ascending, rows).tolist()]
        for start, end in zip(
            (bounds[:-1] - bounds[0]).tolist(), (bounds[1:] - bounds[0]).tolist(), strict=True
        ):
            yield join(ranked[start:end], has_identities=has_identities)


def read_samples(table: pa.Table) -> list[Sample]:
    """The rows of a small table as samples."""
    return [
        Sample(
            row["image"],
            row["identity"],
            tuple(row["captions"]),
            row["camera"],
            "infrared" if row["infrared"] else "visible",
            tuple(row["attributes"]),
            row.get("role", ""),
        )
        for row in table.to_pylist()
    ]


def join(samples: Sequence[Sample], *, has_identities: bool) -> Sample:
    """Rows of one image as one; a row that only repeats an earlier one adds nothing.

    Raises DataError where they differ in more than the captions.
    """
    whole = samples[0]
    taken = {whole.captions}
    for sample in samples[1:]:
        _compare(whole, sample, has_identities=has_identities)
        captions = whole.captions + (() if sample.captions in taken else sample.captions)
        taken.add(sample.captions)
        whole = replace(whole, captions=captions, camera=max(whole.camera, sample.camera))
    return whole


def _compare(first: Sample, other: Sample, *, has_identities: bool) -> None:
    facts: list[tuple[str, object, object]] = [
        ("kind", first.modality, other.modality),
        ("attributes", list(first.attributes), list(other.attributes)),
    ]
    if has_identities:
        facts.append(("identity", first.identity, other.identity))
    if -1 not in (first.camera, other.camera):
        facts.append(("camera", first.camera, other.camera))
    for name, known, found in facts:
        if known != found:
            raise DataError(
                f"the image {first.image!r} stands in two records, with the {name} {known} and with "
                f"{found}; correct or remove one of them"
            )
