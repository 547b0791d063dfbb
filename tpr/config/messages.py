"""Words that configuration messages share: guesses of what was meant, short values, titles of classes."""

import difflib
from collections.abc import Iterable
from typing import Any

LONGEST_VALUE = 80
SHORTEST_BEGINNING = 3


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name most like the word, else the only one that begins with it, else None."""
    if len(word) > LONGEST_VALUE:
        return None
    names = sorted(set(known))
    found = difflib.get_close_matches(word, names, n=1)
    longer = [name for name in names if len(word) >= SHORTEST_BEGINNING and name.startswith(word)]
    return found[0] if found else longer[0] if len(longer) == 1 else None


def guess(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing."""
    near = nearest(word, known)
    return "" if near is None else f" (did you mean '{near}'?)"


def show_value(value: Any) -> str:
    """A value as a message quotes it: on one line, shortened."""
    if value is None:
        return "null"
    try:
        return shorten(" ".join(repr(value).split()))
    except ValueError:
        return "a number of thousands of digits"
    except RecursionError:
        return "values that lie too deep to be shown"


def show_name(name: Any) -> str:
    """A key or a word as a message names it: as it is where that is short and on one line, else quoted."""
    return shorten(name) if isinstance(name, str) and name.isprintable() else show_value(name)


def shorten(text: str) -> str:
    """The beginning of a text that is too long for a message."""
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def class_title(cls: type) -> str:
    """`Optim` for OptimOptions, `Irra` for Irra.Options and for the Options of a file irra.py."""
    *outer, name = cls.__qualname__.split(".")
    if name != "Options":
        return name.removesuffix("Options")
    if outer and outer[-1] != "<locals>":
        return outer[-1]
    return cls.__module__.rpartition(".")[2].title().replace("_", "")
