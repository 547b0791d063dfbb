"""CLIP's word pieces by open_clip's tokenizer, with the mask token of the published systems.

Id 49405 is the last word of CLIP's vocabulary ("jekyll"); the published systems use it as the mask token.
Its merge is dropped here, so that word splits in two and no caption can yield the mask. Nor can a caption
yield a start or an end: the special strings are ordinary symbols here, because a second end token would
move the position that the text tower reads.
"""

import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.data.text.tokenizer import Tokenizer

MASK = 49405
START = 49406
END = 49407
VOCABULARY = 49408
WORD_LIMIT = MASK
"""Ids 1..WORD_LIMIT-1 are words; 0 is padding (and "!" inside a run of symbols, never at its end)."""

TOKENIZER_VERSION = 1
"""Part of the token cache's key: raise it whenever an id of any caption could change."""

LONGEST_WORD = 2048
"""Bytes of one word that are looked at. Merging takes quadratic time, and even the longest pieces fill 50
positions within this many bytes."""

LARGEST_MEMORY = 500_000
"""Words whose pieces are remembered before starting anew; bounds memory on a corpus of many millions."""

PLAIN_TEXT = re.compile(r"[ -%'-~]*")
"""Printable ASCII without '&': nothing in it for ftfy or HTML unescaping to change."""


class WordPieces:
    """Caption -> ids of its word pieces, without start and end."""

    def __init__(self) -> None:
        # Importing open_clip takes seconds; configuration and data commands should not pay for it.
        import regex  # type: ignore[import-untyped]
        from open_clip.tokenizer import SimpleTokenizer

        self._tokenizer = SimpleTokenizer()
        del self._tokenizer.bpe_ranks[("jeky", "ll</w>")]
        self._pattern = regex.compile(
            r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
        )
        self._memory: dict[str, list[int]] = {}

    def encode(self, caption: str) -> list[int]:
        """Ids of one caption, any length; empty for a caption without a visible symbol."""
        is_plain = PLAIN_TEXT.fullmatch(caption)
        text = caption.lower() if is_plain else self._tokenizer.clean_fn(caption)
        memory = self._memory
        ids: list[int] = []
        for word in self._pattern.findall(text):
            pieces = memory.get(word)
            ids.extend(self._split(word) if pieces is None else pieces)
        return ids

    def _split(self, word: str) -> list[int]:
        if len(self._memory) >= LARGEST_MEMORY:
            self._memory.clear()
            self._tokenizer.cache.clear()
        letters = self._tokenizer.byte_encoder
        symbols = "".join(letters[byte] for byte in word.encode("utf-8")[:LONGEST_WORD])
        pieces = [self._tokenizer.encoder[piece] for piece in self._tokenizer.bpe(symbols).split(" ")]
        self._memory[word] = pieces
        return pieces

    def find_word_ends(self) -> npt.NDArray[np.bool_]:
        """(VOCABULARY,) True at the ids of pieces after which a word is over."""
        ends = np.zeros(VOCABULARY, dtype=bool)
        ends[[number for piece, number in self._tokenizer.encoder.items() if piece.endswith("</w>")]] = True
        return ends


@lru_cache(maxsize=1)
def load_word_pieces() -> WordPieces:
    """The byte pairs of this process; reading them takes a quarter of a second."""
    return WordPieces()


class ClipTokenizer(Tokenizer):
    """CLIP's byte pairs with the published systems' mask token."""

    name, version = "clip", TOKENIZER_VERSION
    pad, start, end, mask = 0, START, END, MASK
    words = range(1, WORD_LIMIT)
    size = VOCABULARY

    def split(self, caption: str) -> list[int]:
        """Ids of one caption."""
        return load_word_pieces().encode(caption)

    def find_word_ends(self, tokens: Tensor) -> Tensor:
        """(T, L) True at the last piece of each word."""
        return send_word_ends(tokens.device)[tokens]


CLIP_TOKENIZER = ClipTokenizer()


@lru_cache(maxsize=8)
def send_word_ends(device: torch.device) -> Tensor:
    """(VOCABULARY,) bool on the device, sent once: True at the ids of pieces after which a word is over."""
    return torch.from_numpy(load_word_pieces().find_word_ends()).to(device)


def tokenize(captions: list[str], length: int = 77) -> Tensor:
    """(N, length) int64 CLIP ids: start, word pieces, end, zeros; a long caption is cut and keeps its end.

    Raises DataError for an entry that is no text.
    Source: CLIP's byte-pair encoding as in open_clip; IRRA's mask id. Differs: "jekyll" splits in two and
    special strings are ordinary text, where the official code fails or ends the caption.
    """
    return CLIP_TOKENIZER.tokenize([captions] if isinstance(captions, str) else captions, length)
