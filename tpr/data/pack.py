"""One packed folder per data set: the corpus with its pictures' original bytes, in Arrow files.

The folder is `<out>/<set folder>/packed/`, so that `data.root=<out>` reads it, with or without the loose
files beside it. Bytes are kept exactly, rows in order; a file holds at most 4 GiB unless one picture is
larger. The options of the set at packing are part of it.
"""

import hashlib
import logging
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tpr.config.schema import Choice, DataOptions
from tpr.data.cache import PACKED, open_entry, plain_options
from tpr.data.columns import (
    MANIFEST,
    PICTURE,
    SCHEMA,
    ShardWriter,
    SplitFiles,
    read_identity,
    save_manifest,
    write_index,
)
from tpr.data.corpora import build_adapter, open_corpus
from tpr.data.corpus import Corpus
from tpr.data.pictures import read_bytes
from tpr.data.sample import Split
from tpr.errors import DataError

logger = logging.getLogger(__name__)

SHARD_BYTES = 4 * 2**30
BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Packed:
    """What was written."""

    folder: Path
    pictures: int
    files: int
    size: int
    """Bytes of all files."""


def pack_set(choice: Choice, data: DataOptions, out: Path, shard_bytes: int = SHARD_BYTES) -> Packed:
    """Write a set and its pictures below `out`. DataError if a picture is missing or space runs out."""
    adapter = build_adapter(choice)
    source = adapter.folder(data.root)
    folder = out / source.relative_to(data.root) / PACKED
    if folder.exists():
        raise DataError(f"{folder} exists already; remove it to pack again")
    entry = open_entry(adapter, data)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{PACKED}-"))
        try:
            temporary.chmod(0o755)
            splits: dict[Split, SplitFiles] = {}
            for split in entry.splits:
                corpus = open_corpus(entry, split, choice.options)
                repeats = entry.manifest.splits[split].repeats
                splits[split] = replace(_pack_split(corpus, temporary, shard_bytes), repeats=repeats)
            save_manifest(
                temporary, replace(entry.manifest, options=plain_options(choice.options), splits=splits)
            )
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}); give another --out"
        ) from None
    written = [path for path in folder.iterdir() if path.name != MANIFEST]
    return Packed(
        folder,
        pictures=sum(known.rows for known in splits.values()),
        files=sum(path.suffix == ".arrow" for path in written),
        size=sum(path.stat().st_size for path in written),
    )


def _pack_split(corpus: Corpus, folder: Path, shard_bytes: int) -> SplitFiles:
    writer = ShardWriter(folder, corpus.split, SCHEMA.append(PICTURE), shard_bytes)
    digest = hashlib.sha256(corpus.fingerprint.encode())
    target = max(1, min(BATCH_BYTES, shard_bytes // 4))
    pictures: list[bytes] = []
    size = start = 0
    for row in range(len(corpus)):
        pictures.append(_read_original(corpus, row))
        size += len(pictures[-1])
        digest.update(hashlib.sha256(pictures[-1]).digest())
        if size >= target or row + 1 == len(corpus):
            writer.write(_make_batch(corpus, start, pictures))
            pictures, size, start = [], 0, row + 1
    writer.close()
    logger.info("%s: packed %s pictures of split %s", corpus.name, f"{len(corpus):,}", corpus.split)
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


def _make_batch(corpus: Corpus, start: int, pictures: list[bytes]) -> pa.RecordBatch:
    """The rows from `start` on with their pictures, as one batch of its own."""
    rows = corpus.table.select(SCHEMA.names).slice(start, len(pictures))
    table = rows.append_column(PICTURE, pa.array(pictures, type=PICTURE.type)).combine_chunks()
    (batch,) = table.to_batches()
    return batch
