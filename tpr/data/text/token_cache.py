"""Token ids of a whole corpus, made once and mapped from two files ever after.

`ids.npy` (uint16) holds the word pieces of all captions one after another, without start and end;
`offsets.npy` (int64) says where each caption begins; `manifest.json` holds the checksums of both, which are
verified before they are mapped. A worker shares the pages; nothing is copied.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tpr.config.schema import DataOptions
from tpr.data.tables.cache import LEFTOVER_SECONDS, cache_folder
from tpr.data.tables.checksums import Checksum, read_sealed, sum_file, verify_file, write_sealed
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.data.tables.manifest import FORMAT, MANIFEST
from tpr.data.tables.whole_folders import build_folder, find_lock, remove_leftovers
from tpr.data.text.tokenizer import Tokenizer
from tpr.errors import DataError
from tpr.locks import take_turns

logger = logging.getLogger(__name__)

CAPTIONS_AT_ONCE = 16_384
IDS, OFFSETS = "ids.npy", "offsets.npy"


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Word pieces of every caption of a corpus, on disk."""

    folder: Path
    ids: npt.NDArray[np.uint16]
    """All word pieces, one caption after another."""
    offsets: IndexArray
    """(captions + 1,) place of each caption's first piece."""
    tokenizer: Tokenizer
    """Made the ids."""

    @classmethod
    def open(cls, folder: Path, tokenizer: Tokenizer) -> "TokenTable":
        """Map the two files. Raises DataError if they are missing or not as they were written."""
        known = read_sealed(folder / MANIFEST)
        try:
            for name in (IDS, OFFSETS):
                verify_file(folder / name, Checksum.from_plain(**known[name]))
            ids, offsets = (
                # Plain arrays over the mapping: indexing numpy's own memmap class is several times slower.
                np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
                for name in (IDS, OFFSETS)
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{folder}: cannot be read ({error})") from None
        return cls(folder, ids, offsets, tokenizer)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __reduce__(self) -> tuple[Callable[[Path, Tokenizer], "TokenTable"], tuple[Path, Tokenizer]]:
        """A worker that is not forked maps the files again."""
        return TokenTable.open, (self.folder, self.tokenizer)

    def rows(self, captions: IndexArray, length: int) -> npt.NDArray[np.int64]:
        """(n, length) padded ids of the numbered captions; a long one is cut and keeps its end token."""
        return self.tokenizer.arrange(self.ids, self.offsets, captions, length)

    def find_longest(self, captions: IndexArray, length: int) -> int:
        """Positions that the longest of these captions fills, start and end included, at most `length`."""
        if not len(captions):
            return 2
        return min(int((self.offsets[captions + 1] - self.offsets[captions]).max()) + 2, length)


def corpus_tokens(corpus: Corpus, data: DataOptions, tokenizer: Tokenizer) -> TokenTable:
    """The corpus' token table, mapped from the cache or made now. Raises DataError in one line."""
    content = f"{tokenizer.key} {FORMAT} {corpus.fingerprint}"
    key = hashlib.sha256(content.encode()).hexdigest()[:24]
    folder = cache_folder(data) / "tokens" / key
    try:
        try:
            table = _open_whole(folder, corpus, tokenizer)
        except DataError:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with take_turns(find_lock(folder)):
                table = _make_once(corpus, folder, tokenizer)
    except OSError as error:
        raise DataError(
            f"the cache folder {folder.parent} cannot be written ({error.strerror or error}); "
            "set data.cache to a folder with space that you may write"
        ) from None
    cut = int((np.diff(table.offsets) + 2 > data.text_length).sum())
    if cut:
        logger.warning(
            "%s: %s of %s captions are longer than data.text_length=%d and are cut",
            *(corpus.name, f"{cut:,}", f"{len(table):,}", data.text_length),
        )
    return table


def _open_whole(folder: Path, corpus: Corpus, tokenizer: Tokenizer) -> TokenTable:
    """The table in this folder. Raises DataError if there is none, or it is damaged or another corpus'."""
    table = TokenTable.open(folder, tokenizer)
    if len(table) != corpus.caption_count:
        raise DataError(f"{folder}: holds {len(table):,} captions, expected {corpus.caption_count:,}")
    return table


def _make_once(corpus: Corpus, folder: Path, tokenizer: Tokenizer) -> TokenTable:
    """A table that is missing or damaged: made here, or by a process that was faster."""
    if folder.is_dir():
        try:
            return _open_whole(folder, corpus, tokenizer)
        except DataError as error:
            logger.warning("cached token ids are damaged and are made again: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
    logger.info("%s: tokenising %s captions, once", corpus.name, f"{corpus.caption_count:,}")
    remove_leftovers(folder, older_than_seconds=LEFTOVER_SECONDS)
    with build_folder(folder) as temporary:
        _write(corpus, temporary, tokenizer)
    return TokenTable.open(folder, tokenizer)


def _write(corpus: Corpus, folder: Path, tokenizer: Tokenizer) -> None:
    parts: list[npt.NDArray[np.uint16]] = []
    counts: list[IndexArray] = []
    for captions in _read_captions(corpus):
        ids, offsets = tokenizer.encode(captions)
        parts.append(ids)
        counts.append(np.diff(offsets))
    all_ids = np.concatenate([np.zeros(0, dtype=np.uint16), *parts])
    offsets = np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *counts]))
    for name, array in ((IDS, all_ids), (OFFSETS, offsets)):
        with (folder / name).open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    write_sealed(folder / MANIFEST, {name: asdict(sum_file(folder / name)) for name in (IDS, OFFSETS)})


def _read_captions(corpus: Corpus) -> Iterator[list[str]]:
    """All captions in order, a few thousand at a time."""
    for chunk in corpus.table.column("captions").chunks:
        captions = chunk.flatten()
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            yield captions.slice(start, CAPTIONS_AT_ONCE).to_pylist()
