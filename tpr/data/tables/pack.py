"""One packed folder per dataset: the corpus with its images' original bytes, in Arrow files.

The folder is `<out>/<dataset folder>/packed/`, so that `data.root=<out>` reads it, with or without the loose
files next to it. Bytes are kept exactly, rows in order; a file holds at most 4 GiB unless one image is
larger. The options of the dataset at packing are part of it. Each image has a checksum of its bytes;
all else is verified when a dataset is opened.
"""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tpr.config.schema import Choice, DataOptions
from tpr.data.images.packed import CHECKSUM, IMAGE
from tpr.data.images.reader import read_bytes
from tpr.data.samples.sample import Split
from tpr.data.tables.cache import PACKED, open_entry, plain_options
from tpr.data.tables.checksums import hash_bytes
from tpr.data.tables.columns import ROLE, ShardWriter, choose_schema, read_identity, write_index
from tpr.data.tables.corpora import build_adapter, open_corpus
from tpr.data.tables.corpus import Corpus
from tpr.data.tables.manifest import FORMAT, MANIFEST, SplitFiles, save_manifest
from tpr.data.tables.whole_folders import build_folder, remove_leftovers
from tpr.errors import DataError
from tpr.locks import hold_made_folder

logger = logging.getLogger(__name__)

SHARD_BYTES = 4 * 2**30
BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Packed:
    """What was written."""

    folder: Path
    images: int
    files: int
    size: int
    """Bytes of all files."""


def pack_set(choice: Choice, data: DataOptions, out: Path, shard_bytes: int = SHARD_BYTES) -> Packed:
    """Write a dataset and its images below `out`.

    Raises DataError if an image is missing or space runs out, BusyError if another process packs there.
    """
    adapter = build_adapter(choice)
    source = adapter.folder(data.root)
    folder = out / source.relative_to(data.root) / PACKED
    _refuse_existing(folder)
    entry = open_entry(adapter, data)
    splits: dict[Split, SplitFiles] = {}
    try:
        with hold_made_folder(folder.parent):
            _refuse_existing(folder)
            remove_leftovers(folder)
            with build_folder(folder) as temporary:
                for split in entry.splits:
                    corpus = open_corpus(entry, split, adapter)
                    repeats = entry.manifest.splits[split].repeats
                    splits[split] = replace(_pack_split(corpus, temporary, shard_bytes), repeats=repeats)
                options = plain_options(choice.options)
                manifest = replace(entry.manifest, options=options, splits=splits, format=FORMAT)
                save_manifest(temporary, manifest)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}); give another --out"
        ) from None
    written = [path for path in folder.iterdir() if path.name != MANIFEST]
    return Packed(
        folder,
        images=sum(known.rows for known in splits.values()),
        files=sum(path.suffix == ".arrow" for path in written),
        size=sum(path.stat().st_size for path in written),
    )


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise DataError(f"{folder} exists already; remove it to pack again")


def _pack_split(corpus: Corpus, folder: Path, shard_bytes: int) -> SplitFiles:
    schema = choose_schema(roles=ROLE.name in corpus.table.column_names, packed=True)
    writer = ShardWriter(folder, corpus.split, schema, shard_bytes)
    digest = hashlib.sha256(corpus.fingerprint.encode())
    target = max(1, min(BATCH_BYTES, shard_bytes // 4))
    images: list[bytes] = []
    size = start = 0
    for row in range(len(corpus)):
        images.append(_read_original(corpus, row))
        size += len(images[-1])
        digest.update(hashlib.sha256(images[-1]).digest())
        if size >= target or row + 1 == len(corpus):
            writer.write(_make_batch(corpus, start, images))
            images, size, start = [], 0, row + 1
    writer.close()
    logger.info("%s: packed %s images of split %s", corpus.name, f"{len(corpus):,}", corpus.split)
    published, first = np.unique(read_identity(corpus.table), return_index=True)
    labels = dict(zip(published.tolist(), corpus.identity[first].tolist(), strict=True))
    return write_index(folder, corpus.split, writer.files, digest.hexdigest()[:16], labels=labels)


def _read_original(corpus: Corpus, row: int) -> bytes:
    try:
        return read_bytes(corpus, row)
    except DataError as error:
        raise DataError(
            f"'{corpus.name}': {corpus.root / corpus.image_path(row)} {error}; `tpr data check` lists all"
        ) from None


def _make_batch(corpus: Corpus, start: int, images: list[bytes]) -> pa.RecordBatch:
    """The rows from `start` on with their images, as one batch of its own."""
    names = choose_schema(roles=ROLE.name in corpus.table.column_names).names
    rows = corpus.table.select(names).slice(start, len(images))
    table = rows.append_column(IMAGE, pa.array(images, type=IMAGE.type))
    checksums = pa.array([hash_bytes(content) for content in images], type=CHECKSUM.type)
    (batch,) = table.append_column(CHECKSUM, checksums).combine_chunks().to_batches()
    return batch
