"""BERT's word pieces by the library tokenizers, which transformers is built on; `##` continues a word.

Text is lower-cased, accents are dropped, symbols stand alone. Special strings in a caption, such as [SEP],
are ordinary text: a caption can yield neither an end nor a mask.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer as Splitter
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor

from tpr.data.text.tokenizer import Tokenizer
from tpr.errors import ConfigError

SMALL_VOCABULARY = Path(__file__).with_name("word_pieces.txt")
"""Words of the drawn world, and single characters for all others."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LARGEST = 2**16
"""Ids are kept in 16 bits."""
LONGEST_WORD = 100
"""Letters of a word; a longer one is unknown, as in BERT."""


class BertTokenizer(Tokenizer):
    """BERT's uncased word pieces with a vocabulary of one piece per line."""

    name, version = "word_pieces", 1

    def __init__(self, vocabulary: Path = SMALL_VOCABULARY) -> None:
        """vocabulary: a file such as bert-base-uncased's vocab.txt, special pieces before all words.

        Raises ConfigError for a file that is no such vocabulary.
        """
        self.vocabulary = vocabulary
        pieces = read_vocabulary(vocabulary)
        self.pad, self.unknown, self.start, self.end, self.mask = (pieces.index(name) for name in SPECIAL)
        self.size = len(pieces)
        is_special = [piece in SPECIAL or piece.startswith("[unused") for piece in pieces]
        self.words = range(1 + max(np.flatnonzero(is_special).tolist()), self.size)

    @property
    def key(self) -> str:
        """Changes whenever an id of any caption could: the pieces themselves are part of it."""
        return f"{super().key} {hash_vocabulary(self.vocabulary)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BertTokenizer) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def split(self, caption: str) -> list[int]:
        """Ids of one caption; a word that cannot be made of the vocabulary's pieces is unknown."""
        # A lone surrogate, which JSON can hold, is no character of any vocabulary.
        text = caption.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = load_splitter(self.vocabulary).encode(text, add_special_tokens=False).ids
        return ids

    def find_word_ends(self, tokens: Tensor) -> Tensor:
        """(T, L) True at tokens whose word no following piece continues."""
        following = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=self.pad)
        return ~send_continuations(self.vocabulary, tokens.device)[following]


@lru_cache(maxsize=8)
def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The pieces of a vocabulary file in the order of their ids. Raises ConfigError in one line."""
    try:
        pieces = tuple(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise ConfigError(f"{path}: the vocabulary cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the vocabulary is not text in UTF-8 (byte {error.start})") from None
    missing = [name for name in SPECIAL if name not in pieces]
    if missing:
        raise ConfigError(
            f"{path}: no vocabulary of BERT: {', '.join(missing)} missing; expected one piece per line, as "
            "in vocab.txt of bert-base-uncased"
        )
    if len(set(pieces)) < len(pieces) or len(pieces) > LARGEST:
        raise ConfigError(
            f"{path}: {len(pieces):,} pieces, {len(set(pieces)):,} different; expected at most {LARGEST:,}, "
            "none of them twice"
        )
    return pieces


@lru_cache(maxsize=8)
def hash_vocabulary(path: Path) -> str:
    """A short name of the pieces of a vocabulary."""
    return hashlib.sha256("\n".join(read_vocabulary(path)).encode()).hexdigest()[:16]


@lru_cache(maxsize=8)
def load_splitter(path: Path) -> Splitter:
    """The library's tokenizer of this process, without special tokens of its own."""
    vocabulary = {piece: number for number, piece in enumerate(read_vocabulary(path))}
    splitter = Splitter(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    splitter.normalizer = BertNormalizer(lowercase=True)
    splitter.pre_tokenizer = BertPreTokenizer()
    return splitter


@lru_cache(maxsize=8)
def send_continuations(path: Path, device: torch.device) -> Tensor:
    """(size,) bool on the device, sent once: True at pieces that go on with a word."""
    marks: npt.NDArray[np.bool_] = np.array([piece.startswith("##") for piece in read_vocabulary(path)])
    return torch.from_numpy(marks).to(device)
