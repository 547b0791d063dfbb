"""Captions without the person: closed lists of words that are replaced by vague ones.

The lists are `captions/styles/words.yaml`, data that a user may edit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tpr.captioning.texts import SHIPPED
from tpr.config.yaml_entries import StrictLoader
from tpr.errors import ConfigError

WORDS_FILE = Path("styles") / "words.yaml"
COLOUR = "colored"
"""Stands for every colour; a language model's rewriting is refused while a word of this list is left."""
ADJECTIVE = "plain"
"""Stands for every adjective, and is left out before a noun."""
HAIR = "hairstyle"


@dataclass(frozen=True)
class Lexicon:
    """Vague words, each with the phrases that it replaces."""

    groups: Mapping[str, tuple[str, ...]]

    @cached_property
    def phrases(self) -> re.Pattern[str]:
        """Any phrase of any group, whole; the longest comes first."""
        known = sorted((phrase for group in self.groups.values() for phrase in group), key=len, reverse=True)
        return re.compile(rf"(?<![\w])({'|'.join(map(_as_pattern, known))})(e?s)?(?![\w])", re.IGNORECASE)

    @cached_property
    def vague(self) -> dict[str, str]:
        """Each phrase's vague word."""
        return {_fold(phrase): word for word, group in self.groups.items() for phrase in group}

    @cached_property
    def colours(self) -> re.Pattern[str]:
        """Any colour."""
        words = sorted(self.groups[COLOUR], key=len, reverse=True)
        return re.compile(rf"\b({'|'.join(map(_as_pattern, words))})\b", re.IGNORECASE)

    @cached_property
    def leftovers(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """What replacing leaves behind, in the order of mending: adjectives, repeated words, articles."""
        words = "|".join(sorted(map(re.escape, self.groups), key=len, reverse=True))
        between = r"(?:[\s,/-]|\band\b|\bor\b|\bwith\b)*"
        return (
            (re.compile(rf"\b{ADJECTIVE}\b[\s,-]*(?:and\s+)?(?=(?:{words})\b)", re.IGNORECASE), ""),
            (re.compile(rf"\b({COLOUR})\b(?:{between}\b{COLOUR}\b)+", re.IGNORECASE), r"\1"),
            (re.compile(rf"\b{COLOUR}[\s-]+(?={HAIR}\b)", re.IGNORECASE), ""),
            (re.compile(rf"\b({words})\b(?:[\s-]+\1\b)+", re.IGNORECASE), r"\1"),
            (re.compile(rf"\b(a)n?\s+(?=(?:{words})\b)", re.IGNORECASE), r"\1 "),
            (re.compile(rf"\b(a)\s+(?=(?:{words})\b)(?=[aeiou])", re.IGNORECASE), r"\1n "),
            (re.compile(r"\s+"), " "),
        )

    def rewrite(self, caption: str) -> str:
        """The caption with every known phrase replaced; the same text for the same caption."""
        text = self.phrases.sub(self._replace, " ".join(caption.split()))
        for pattern, replacement in self.leftovers:
            text = pattern.sub(replacement, text)
        return text.strip()

    def names_colour(self, text: str) -> bool:
        """Whether a colour is left."""
        return self.colours.search(text) is not None

    def _replace(self, found: re.Match[str]) -> str:
        word = self.vague[_fold(found[1])]
        return word[0].upper() + word[1:] if found[0][0].isupper() else word


def read_lexicon(folder: Path | None) -> Lexicon:
    """The lists below a folder of texts; absent: the shipped ones. Raises ConfigError in one line."""
    path = (folder or SHIPPED) / WORDS_FILE
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)  # a kin of SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); --texts names another folder") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict) or not {COLOUR, ADJECTIVE, HAIR} <= found.keys():
        raise ConfigError(
            f"{path}: expected 'vague word: [phrases]' with {COLOUR}, {ADJECTIVE} and {HAIR} among them"
        )
    return Lexicon({str(word): _read_group(path, str(word), group) for word, group in found.items()})


def _read_group(path: Path, word: str, group: object) -> tuple[str, ...]:
    """The phrases of one vague word: a list, or a list of lists."""
    lines = group if isinstance(group, list) else []
    phrases: list[Any] = [phrase for line in lines for phrase in (line if isinstance(line, list) else [line])]
    strange = next((phrase for phrase in phrases if not isinstance(phrase, str) or not phrase.strip()), None)
    if not phrases or strange is not None:
        raise ConfigError(f"{path}: {word}: expected a list of phrases, found {strange or group!r}")
    return tuple(phrases)


def _fold(phrase: str) -> str:
    return re.sub(r"[\s-]+", " ", phrase).lower()


def _as_pattern(phrase: str) -> str:
    return r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", phrase)))
