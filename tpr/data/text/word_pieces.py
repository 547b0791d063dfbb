"""BERT's word pieces by the library tokenizers, which transformers is built on; `##` continues a word.

Text is lower-cased, accents are dropped, symbols stand alone. Special strings in a caption, such as [SEP],
are ordinary text: a caption can yield neither an end nor a mask.
"""

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from tokenizers import Tokenizer as Splitter
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor

from tpr.data.text.tokenizer import Tokenizer
from tpr.errors import ConfigError, first_line

SMALL_VOCABULARY = Path(__file__).with_name("word_pieces.txt")
"""Words of the drawn world, and single characters for all others; `scripts/word_pieces.py` writes it."""
FILES = ("vocab.txt", "tokenizer.json")
"""What a model's folder holds: the second is all that newer versions of transformers save."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NO_WORD = re.compile(r"\[\w+\]")
"""Special pieces, places for more of them included; no text yields one, since brackets stand alone."""
LARGEST = 2**16
"""Ids are kept in 16 bits."""
LONGEST_WORD = 100
"""Letters of a word; a longer one is unknown, as in BERT."""


class BertTokenizer(Tokenizer):
    """BERT's uncased word pieces; it keeps its vocabulary, whatever becomes of the file."""

    name, version = "word_pieces", 1

    def __init__(self, vocabulary: Path = SMALL_VOCABULARY) -> None:
        """vocabulary: bert-base-uncased's vocab.txt or tokenizer.json, or a file like one of them.

        Raises ConfigError for a file that is no such vocabulary.
        """
        self.pieces = read_vocabulary(vocabulary)
        self.pad, self.unknown, self.start, self.end, self.mask = map(self.pieces.index, SPECIAL)
        self.size = len(self.pieces)
        last = max(number for number, piece in enumerate(self.pieces) if NO_WORD.fullmatch(piece))
        self.words = range(last + 1, self.size)
        self._hash = hashlib.sha256("\n".join(self.pieces).encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """Changes whenever an id of any caption could: the pieces themselves are part of it."""
        return f"{super().key} {self._hash}"

    def split(self, caption: str) -> list[int]:
        """Ids of one caption; a word that cannot be made of the vocabulary's pieces is unknown."""
        # A lone surrogate, which JSON can hold, is no character of any vocabulary.
        text = caption.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = _make_splitter(self).encode(text, add_special_tokens=False).ids
        return ids

    def find_word_ends(self, tokens: Tensor) -> Tensor:
        """(T, L) True at tokens whose word no following piece continues."""
        following = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=self.pad)
        return ~_send_continuations(self, tokens.device)[following]


@lru_cache(maxsize=8)
def _make_splitter(tokenizer: BertTokenizer) -> Splitter:
    """The library's tokenizer of this process, without special tokens of its own."""
    vocabulary = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    splitter = Splitter(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    splitter.normalizer = BertNormalizer(lowercase=True)
    splitter.pre_tokenizer = BertPreTokenizer()
    return splitter


@lru_cache(maxsize=8)
def _send_continuations(tokenizer: BertTokenizer, device: torch.device) -> Tensor:
    """(size,) bool on the device, sent once: True at pieces that go on with a word."""
    return torch.tensor([piece.startswith("##") for piece in tokenizer.pieces], device=device)


def find_vocabulary(named: str | None) -> Path:
    """The vocabulary that a model's options name: a file, a model's folder, or a tag of the Hugging Face hub.

    None is the drawn world's. A tag is looked for in the hub's cache, and fetched if it is not there.
    Raises ConfigError in one line that says which file to fetch.
    """
    if named is None:
        return SMALL_VOCABULARY
    try:
        path = Path(named).expanduser()
        if path.is_dir():
            return next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
        if path.is_file():
            return path
        cached = try_to_load_from_cache(named, FILES[0])
        return Path(cached if isinstance(cached, str) else hf_hub_download(named, FILES[0]))
    except Exception as error:  # every transport has errors of its own
        raise ConfigError(
            f"vocabulary {named}: no such file or folder, and no tag of the Hugging Face hub that can be "
            f"fetched ({first_line(error)}); fetch https://huggingface.co/{named}/resolve/main/{FILES[0]} on "
            "a machine with a network, copy it here and name its path"
        ) from None


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The pieces of a vocabulary file in the order of their ids. Raises ConfigError in one line."""
    try:
        pieces = _read_pieces(path)
    except OSError as error:
        raise ConfigError(f"{path}: the vocabulary cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the vocabulary is not text in UTF-8 (byte {error.start})") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{path}: no tokenizer.json of BERT; expected pieces and ids in it") from None
    _check_pieces(path, pieces)
    return pieces


def _read_pieces(path: Path) -> tuple[str, ...]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return tuple(text.removesuffix("\n").split("\n"))
    numbers = json.loads(text)["model"]["vocab"]
    pieces = {number: piece for piece, number in numbers.items()}
    return tuple(pieces[number] for number in range(len(numbers)))


def _check_pieces(path: Path, pieces: tuple[str, ...]) -> None:
    """Raise ConfigError unless these are uncased pieces, none twice, special ones before all words."""
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
    if NO_WORD.fullmatch(pieces[-1]):
        raise ConfigError(f"{path}: the last piece is {pieces[-1]}; expected special pieces before all words")
    cased = next(
        (piece for piece in pieces if not NO_WORD.fullmatch(piece) and re.search("[A-Z]", piece)), None
    )
    if cased is not None:
        raise ConfigError(
            f"{path}: a cased vocabulary (piece '{cased}'); expected lower case, name an uncased one"
        )
