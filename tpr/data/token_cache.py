"""Token ids of a whole corpus, made once and mapped from two files ever after.

`ids.npy` (uint16) holds the word pieces of all captions one after another, without start and end;
`offsets.npy` (int64) says where each caption begins. A worker shares the pages; nothing is copied.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tpr.config.schema import DataOptions
from tpr.data.cache import cache_folder
from tpr.data.corpus import Corpus, IndexArray
from tpr.data.tokenizer import Tokenizer
from tpr.data.tokens import CLIP_TOKENIZER
from tpr.errors import DataError

logger = logging.getLogger(__name__)

CAPTIONS_AT_ONCE = 16_384


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
        """Map the two files; OSError or ValueError if they are missing or damaged."""
        ids, offsets = (
            # Plain arrays over the mapping: indexing numpy's own memmap class is several times slower.
            np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
            for name in ("ids.npy", "offsets.npy")
        )
        if len(ids) != offsets[-1]:
            raise ValueError(f"{folder}: ids and offsets do not belong together")
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


def corpus_tokens(corpus: Corpus, data: DataOptions, tokenizer: Tokenizer = CLIP_TOKENIZER) -> TokenTable:
    """The corpus' token table, mapped from the cache or made now. Raises DataError in one line."""
    key = hashlib.sha256(f"{tokenizer.key} {corpus.fingerprint}".encode()).hexdigest()[:24]
    folder = cache_folder(data) / "tokens" / key
    try:
        table = _open_whole(folder, corpus, tokenizer)
        if table is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(folder.parent):
                table = _open_whole(folder, corpus, tokenizer) or _make(corpus, folder, tokenizer)
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


def _open_whole(folder: Path, corpus: Corpus, tokenizer: Tokenizer) -> TokenTable | None:
    """The table in this folder; None if there is none, or it is damaged or another corpus'."""
    try:
        table = TokenTable.open(folder, tokenizer)
    except (OSError, ValueError, EOFError):
        return None
    return table if len(table) == corpus.caption_count else None


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """One process makes a table while the others wait; a process that dies lets go of the lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            logger.debug("%s: this file system does not lock; renaming alone keeps tables whole", folder)
        yield
    finally:
        os.close(handle)


def _make(corpus: Corpus, folder: Path, tokenizer: Tokenizer) -> TokenTable:
    logger.info("%s: tokenising %s captions, once", corpus.name, f"{corpus.caption_count:,}")
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        temporary.chmod(0o755)
        _write(corpus, temporary, tokenizer)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
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
    for name, array in (("ids.npy", all_ids), ("offsets.npy", offsets)):
        with (folder / name).open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())


def _read_captions(corpus: Corpus) -> Iterator[list[str]]:
    """All captions in order, a few thousand at a time."""
    for chunk in corpus.table.column("captions").chunks:
        captions = chunk.flatten()
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            yield captions.slice(start, CAPTIONS_AT_ONCE).to_pylist()
