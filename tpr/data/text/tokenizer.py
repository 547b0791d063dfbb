"""What every tokenizer offers: special ids, which ids are words, and captions as rows of ids.

A model's options name its tokenizer: `tokens.py` has CLIP's byte pairs, `word_pieces.py` BERT's word pieces.
Nothing else knows an id by number. Which position of a caption is pooled is the text tower's affair.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.errors import DataError

Ids = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]


class Tokenizer(ABC):
    """Captions -> token ids; cheap to make and to send to a worker: the vocabulary is read on first use."""

    name: ClassVar[str]
    """Part of the token cache's key."""
    version: ClassVar[int]
    """Raise it whenever an id of any caption could change."""
    pad: int
    """Fills a row behind its caption."""
    start: int
    end: int
    mask: int
    """Stands for a token that a model must guess; no caption yields it."""
    words: range
    """Ids that may be masked, and that random tokens are drawn from: neither special nor unused."""
    size: int
    """Ids of the vocabulary."""

    @property
    def key(self) -> str:
        """Changes whenever an id of any caption could; tokenizers of equal keys are equal."""
        return f"{self.name} {self.version}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    @abstractmethod
    def split(self, caption: str) -> list[int]:
        """Ids of one caption of any length, without start and end; empty where it has no visible symbol."""

    @abstractmethod
    def find_word_ends(self, tokens: Tensor) -> Tensor:
        """(T, L) True at tokens after which a word is over."""

    def encode(self, captions: Iterable[str]) -> tuple[Ids, Offsets]:
        """Ids of many captions in one row, and (N + 1,) offsets; start and end are left out."""
        ids: list[int] = []
        offsets = [0]
        for number, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise DataError(f"caption {number} is {caption!r}, expected text")
            ids += self.split(caption)
            offsets.append(len(ids))
        return np.array(ids, dtype=np.uint16), np.array(offsets, dtype=np.int64)

    def arrange(self, ids: Ids, offsets: Offsets, captions: Offsets, length: int) -> npt.NDArray[np.int64]:
        """(n, length) start, words, end, padding of the numbered captions; a long one keeps its end."""
        starts = offsets[captions]
        counts = np.minimum(offsets[captions + 1] - starts, length - 2)
        rows = np.full((len(captions), length), self.pad, dtype=np.int64)
        rows[:, 0] = self.start
        column = np.arange(length - 2)
        is_filled = column < counts[:, None]
        rows[:, 1:-1][is_filled] = ids[(starts[:, None] + column)[is_filled]]
        rows[np.arange(len(captions)), counts + 1] = self.end
        return rows

    def tokenize(self, captions: Iterable[str], length: int) -> Tensor:
        """(N, length) int64 ids of captions. Raises DataError for an entry that is no text."""
        ids, offsets = self.encode(captions)
        return torch.from_numpy(self.arrange(ids, offsets, np.arange(len(offsets) - 1), length))

    def find_words(self, tokens: Tensor) -> Tensor:
        """True at the ids of (T, L) tokens that may be masked."""
        return (tokens >= self.words.start) & (tokens < self.words.stop)

    def draw_words(self, bits: Tensor) -> Tensor:
        """Random words of uniform whole numbers in [0, 2^32)."""
        return self.words.start + ((bits * len(self.words)) >> 32)

    def find_ends(self, tokens: Tensor) -> Tensor:
        """(T,) position of the end token of (T, L) captions."""
        return find_first(tokens, self.end)


def find_first(tokens: Tensor, token: int) -> Tensor:
    """(T,) first position of an id in each row of (T, L) tokens; 0 where it is not there."""
    return (tokens == token).byte().argmax(dim=1)
