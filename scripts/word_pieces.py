"""Writes the drawn world's vocabulary, `tpr/data/text/word_pieces.txt`: python scripts/word_pieces.py."""

import re
import string
from collections.abc import Iterator

from tpr.data.text.word_pieces import SMALL_VOCABULARY, SPECIAL
from tpr.drawn import annotators
from tpr.drawn.captions import MARKUP, SLOT, SLOT_NAMES
from tpr.drawn.phrases import ACTIONS, AGES
from tpr.drawn.vocabulary import SLOTS

LETTERS = string.ascii_lowercase + string.digits
CONNECTING = "a an and over shirt scarf he she his her description unknown"
"""Words that captions and attribute phrases are joined with."""


def list_pieces() -> list[str]:
    """Special pieces, single characters, and all words that annotators can use, sorted."""
    words = {word for text in list_texts() for word in re.findall("[a-z]{2,}", text.lower())}
    return [*SPECIAL, *string.punctuation, *LETTERS, *(f"##{one}" for one in LETTERS), *sorted(words)]


def list_texts() -> Iterator[str]:
    """Everything that captions and attribute phrases are put together from."""
    yield CONNECTING
    for table in SLOTS.values():
        yield from table
        for dialects in table.values():
            for phrases in dialects.values():
                yield from phrases
    for annotator in vars(annotators).values():
        if isinstance(annotator, annotators.Annotator):
            yield from annotator.determiners
            for sentence in (*annotator.sentences, *sum(map(tuple, annotator.endings.values()), ())):
                yield SLOT.sub(" ", sentence)
    for words in (*AGES.values(), *ACTIONS.values(), MARKUP, SLOT_NAMES.values()):
        yield from words


if __name__ == "__main__":
    SMALL_VOCABULARY.write_text("\n".join(list_pieces()) + "\n", encoding="utf-8")
