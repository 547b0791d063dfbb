"""What a caption must be before it enters a corpus: harmless faults are mended, others are named.

The bounds on length are HAM's. A reason is a few words that name no image, so that reasons can be counted.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tpr.captioning.colours import find_colours
from tpr.captioning.engines.base import TRUNCATED
from tpr.config.ranges import Count
from tpr.errors import ConfigError

SLOT = re.compile(r"\[|\]|person/woman|\bdescription\]", re.IGNORECASE)
MARKUP = re.compile(r"[<>{}|`#\\]|\*\*|/n\b|https?:|^\s*[-*\d]+[.)]? .*\n", re.MULTILINE)
REFUSAL = re.compile(
    r"\b(i'?m sorry|i am sorry|i apologi[sz]e|as an ai|language model|(can ?not|can't|unable to|not able to|"
    r"not possible to|could not|couldn't) (describe|identify|determine|see|provide|assist|help|fulfil)|"
    r"(there is|i see|shows) no (person|one|image|picture)|no (image|picture) (was|is|has been))\b",
    re.IGNORECASE,
)
LABEL = re.compile(r"^(caption|description|answer|here is [^.:]{0,60}|sure[^.:]{0,60}):\s*", re.IGNORECASE)
QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
ENDS = (".", "!", "?", '."', ".'", ".)")
ENGLISH_WORDS = """
the with and is are wearing dressed has have his her their of on who while seen carrying holding hair man
woman person boy girl lady shirt jacket coat trousers pants jeans shoes bag backpack black white short long
this that she he they an dark light also appears has wears attired sporting
"""
ENGLISH = frozenset(ENGLISH_WORDS.split())
ENGLISH_SHARE = 0.15
"""Least share of a caption's words that must be common English ones; drawn captions have 0.4."""
FOREIGN_SHARE = 0.1
"""Most letters that may lie outside of ASCII."""
REPEATS = 3
REPEATED_WORDS = 6
LONGEST_REPHRASE = 2
"""Times as many words as its source that a rephrased caption may have."""
LETTERS = re.compile(r"[a-z]+(?:'[a-z]+)?")


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Which captions are accepted."""

    min_words: Count = 8
    """Captions with fewer words are refused."""
    max_words: Count = 130
    """Captions with more words are refused."""
    full_stop: bool = True
    """A caption must end as a sentence does; false for models such as BLIP, which write none."""
    english: bool = True
    """Refuse what does not look like English."""
    duplicates: bool = False
    """Accept a caption that the same image already has."""
    colours: Literal["keep", "remove", "refuse"] = "keep"
    """What to do with names of colours, which infrared images do not show."""

    def __post_init__(self) -> None:
        if self.min_words > self.max_words:
            raise ConfigError(
                f"min_words={self.min_words} and max_words={self.max_words}: expected min <= max"
            )


def mend(text: str) -> str:
    """The text without what surrounds a caption: blanks, quotation marks, labels such as 'Caption:'."""
    text = text.strip()
    if "\n" not in text or not MARKUP.search(text):
        text = " ".join(text.split())
    text = LABEL.sub("", text)
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def find_fault(
    text: str, options: FilterOptions, others: Collection[str] = (), source: str | None = None
) -> str | None:
    """Why a mended text is no caption; None if it is one.

    others: accepted ones of the same image. source: the caption that it rephrases.
    """
    words = text.split()
    if not words:
        return "empty"
    for pattern, reason in ((SLOT, "unfilled slot"), (REFUSAL, "refusal"), (MARKUP, "mark-up")):
        if pattern.search(text):
            return reason
    if "\n" in text:
        return "mark-up"
    if options.english and not is_english(text):
        return "not English"
    if len(words) < options.min_words:
        return "too short"
    if len(words) > options.max_words or (source and len(words) > LONGEST_REPHRASE * len(source.split())):
        return "too long"
    if options.full_stop and not text.endswith(ENDS):
        return TRUNCATED
    if options.colours != "keep" and find_colours(text):
        return "names a colour"
    return find_repetition(text, words, options, [*others, source] if source else others)


def find_repetition(
    text: str, words: list[str], options: FilterOptions, others: Collection[str]
) -> str | None:
    """Whether a caption repeats itself or another of its image."""
    if len(words) >= REPEATED_WORDS + REPEATS - 1 and repeats_itself(words):
        return "repetition"
    if others and not options.duplicates:
        folded = fold(text)
        if any(folded == fold(other) for other in others):
            return "duplicate"
    return None


def is_english(text: str) -> bool:
    """A rough look: letters of ASCII, and enough of the words that every such caption has."""
    if not text.isascii() and sum(not sign.isascii() for sign in text) > FOREIGN_SHARE * len(text):
        return False
    words = LETTERS.findall(text.lower())
    return sum(word in ENGLISH for word in words) >= max(1, ENGLISH_SHARE * len(words))


def repeats_itself(words: list[str]) -> bool:
    """Whether the same six words in a row occur three times."""
    counts: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - REPEATED_WORDS + 1):
        run = tuple(words[start : start + REPEATED_WORDS])
        counts[run] = counts.get(run, 0) + 1
        if counts[run] == REPEATS:
            return True
    return False


def fold(text: str) -> str:
    """The words alone, in small letters."""
    return " ".join(LETTERS.findall(text.lower()))
