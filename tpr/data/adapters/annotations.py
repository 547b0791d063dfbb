"""Reading annotation files: every mistake in one ends as one line that names file, record and key.

A path in an annotation may only lead to a place below the dataset's folder.
"""

import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tpr.data.samples.sample import SPLITS, Split
from tpr.errors import ConfigError, DataError

DRIVE = re.compile(r"^[A-Za-z]:")
INTEGER_LIMIT = 2**63
EXACT_LIMIT = 2**53
"""Below it, every whole number is a float of its own."""
MOST_DIGITS = 18
"""Digits that always fit into 64 bits."""
MOST_BYTES = 255
"""Bytes of a file's name."""
MOST_PATH_BYTES = 3_000
"""Bytes of a path below the data root, which leaves a quarter of the system's limit for the root."""
SPLITS_BY_NAME: dict[str, Split] = {split: split for split in SPLITS}
SHOWN_LETTERS = 60
SHOWN_KEYS = 8
UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Kinds of characters that break a line or a terminal: controls, halves of characters, separators."""


@dataclass(frozen=True, slots=True)
class Record:
    """One object of an annotation file, with its place for messages."""

    path: Path
    number: int
    """Running number from 0, or the line number from 1 in a file of lines."""
    values: dict[str, Any]
    kind: str = "record"

    def fail(self, problem: str) -> NoReturn:
        """Raise DataError that names file and record."""
        raise refuse(self.where, problem)

    @property
    def where(self) -> str:
        """The place for messages."""
        return f"{self.path}: {self.kind} {self.number}"

    def require(self, *keys: str) -> None:
        """Every key must be there."""
        missing = [key for key in keys if key not in self.values]
        if missing:
            self.fail(f"found the keys {list_keys(self.values)}; expected {', '.join(keys)}")

    def lacks(self, key: str) -> bool:
        """Whether a value is absent: no such key, null, NaN or an empty string, as tables have it."""
        value = self.values.get(key)
        return value is None or (isinstance(value, float) and value != value) or value == ""

    def text(self, key: str) -> str:
        """A string."""
        value = self.values[key]
        if not isinstance(value, str):
            self.fail(f"'{key}' must be a string, found {describe(value)}")
        return value

    def integer(self, key: str) -> int:
        """A whole number of 64 bits, also one that a table program wrote as 1.0; true and false are none."""
        if self.lacks(key):
            self.fail(f"'{key}' is missing: found {describe(self.values.get(key))}; expected a whole number")
        value = self.values[key]
        if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_LIMIT:
            return int(value)
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not -INTEGER_LIMIT <= value < INTEGER_LIMIT
        ):
            self.fail(f"'{key}' must be a whole number, found {describe(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, or one string."""
        value = self.values[key]
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fail(f"'{key}' must be a list of strings, found {describe(value)}")
        return tuple(value)

    def image(self, key: str, folder: Path | None = None) -> str:
        """A path with forward slashes that stays below the folder it is joined to; folder: see check_path."""
        return check_path(self.text(key), self.where, folder)


@dataclass
class FirstRecords:
    """Which record named each image first and what it said: an image may stand in several."""

    known: dict[str, list[Any]] = field(default_factory=dict)
    """Image -> number of the record, running number of the image, facts in the order of the call."""

    def find(self, record: Record, image: str, **facts: Any) -> int:
        """Running number of the image. DataError names both records where facts differ; None is unknown."""
        first = self.known.setdefault(image, [record.number, len(self.known), *facts.values()])
        for place, (name, value) in enumerate(facts.items(), start=2):
            if first[place] is None:
                first[place] = value
            elif value is not None and value != first[place]:
                record.fail(
                    f"the image {show(image)} has the {name} {value!r} here, but {first[place]!r} in "
                    f"{record.kind} {first[0]}; give all {record.kind}s of an image the same {name}"
                )
        return int(first[1])


def read_split(record: Record) -> Split:
    """The split that a record names, in small or capital letters. DataError for any other word."""
    name = record.text("split")
    split = SPLITS_BY_NAME.get(name.strip().lower())
    if split is None:
        record.fail(f"'split' must be one of {', '.join(SPLITS)}, found {show(name)}")
    return split


def refuse(where: object, problem: str) -> DataError:
    """An error in one line, whatever names and values it tells of."""
    return DataError(make_line(f"{where}: {problem}"))


def make_line(text: str) -> str:
    """The text with what would break a line or a terminal written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        ascii(letter)[1:-1] if unicodedata.category(letter) in UNPRINTABLE else letter for letter in text
    )


def show(name: str) -> str:
    """A name in quotes with strange letters as escapes, a long one cut."""
    return repr(name) if len(name) <= SHOWN_LETTERS else f"{name[:SHOWN_LETTERS]!r}..."


def quote(name: str) -> str:
    """A name in quotes as it is, a long one cut."""
    return f"'{name}'" if len(name) <= SHOWN_LETTERS else f"'{name[:SHOWN_LETTERS]}...'"


def list_keys(keys: Iterable[object]) -> str:
    """The first keys of an object."""
    words = [str(key)[:SHOWN_LETTERS] for key in keys]
    more = f" and {len(words) - SHOWN_KEYS:,} more" if len(words) > SHOWN_KEYS else ""
    return (", ".join(words[:SHOWN_KEYS]) or "none") + more


def read_number(word: str) -> int | None:
    """The number that a word of digits is; None for other words and for more digits than 64 bits hold."""
    return int(word) if word.isdecimal() and len(word) <= MOST_DIGITS else None


def describe(value: Any) -> str:
    """Kind and, if short, content of a wrong value."""
    kinds = {type(None): "nothing", dict: "an object", str: "a string", bool: "true or false"}
    if isinstance(value, list):
        inner = sorted({kinds.get(type(item), type(item).__name__) for item in value})
        return f"a list of {', '.join(inner)}" if value else "an empty list"
    kind = kinds.get(type(value), type(value).__name__)
    try:
        shown = json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return kind
    return f"{kind} {shown}" if len(shown) <= 40 and value is not None else kind


def check_path(path: str, where: str, folder: Path | None = None) -> str:
    """The path with forward slashes; DataError if it is empty, absolute or climbs with '..'.

    Backslashes separate folders, as Windows writes them, but are letters where `folder` holds that very file.
    """
    # os.path raises nothing, whatever the path.
    is_letter = "\\" in path and folder is not None and os.path.isfile(folder / path)  # noqa: PTH113
    clean = path if is_letter else path.replace("\\", "/")
    if not clean.startswith("/"):
        # One file has one name, however its path is spelled: images are told apart by it.
        clean = "/".join(part for part in clean.split("/") if part not in ("", "."))
    if not clean or clean.startswith("/") or DRIVE.match(clean) or ".." in clean.split("/") or "\0" in clean:
        raise refuse(where, f"the image path {show(path)} is empty or leaves the dataset's folder")
    if not clean.isascii() or len(clean) > MOST_BYTES:
        _check_bytes(clean, where)
    return clean


def check_option_path(path: Path) -> None:
    """Raises ConfigError for an option `path` that leaves the data root."""
    try:
        check_path(str(path), "path")
    except DataError:
        raise ConfigError(f"path must lie below the data root, got '{path}'") from None


def _check_bytes(path: str, where: str) -> None:
    try:
        longest = max(len(part.encode()) for part in path.split("/"))
    except UnicodeEncodeError:
        raise refuse(where, f"the image path {show(path)} has half a letter; save it as UTF-8") from None
    if longest > MOST_BYTES or len(path.encode()) > MOST_PATH_BYTES:
        raise refuse(where, f"the image path {show(path)} is longer than a file's can be")


def read_text(path: Path) -> str:
    """A whole text file; DataError if it is missing, empty or not UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not text.strip():
        raise DataError(f"{path}: the file is empty; fetch it again")
    return text


def read_json(path: Path, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """A JSON file; DataError with line and column if it is not JSON. pairs_hook: makes objects of pairs."""
    try:
        return json.loads(read_text(path), object_pairs_hook=pairs_hook)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: not JSON ({error.msg} at {place}); fetch the file again") from None
    except (RecursionError, ValueError) as error:
        raise refuse(path, f"not JSON that can be read ({error})") from None


def read_records(path: Path, keys: Sequence[str]) -> Iterator[Record]:
    """The objects of a JSON list; each must have `keys`."""
    records = read_json(path)
    if not isinstance(records, list):
        expected = f"a list of objects with {', '.join(keys)}"
        raise refuse(path, f"found {describe_whole(records)}; expected {expected}")
    yield from check_records(path, records, keys)


def check_records(path: Path, records: list[Any], keys: Sequence[str]) -> Iterator[Record]:
    """The objects of a list that was read already."""
    if not records:
        raise DataError(f"{path}: the list is empty; expected objects with {', '.join(keys)}")
    for number, values in enumerate(records):
        if not isinstance(values, dict):
            raise refuse(path, f"record {number}: found {describe(values)}; expected keys {', '.join(keys)}")
        record = Record(path, number, values)
        record.require(*keys)
        yield record


def describe_whole(content: Any) -> str:
    """What a whole annotation file holds, with its first keys."""
    if isinstance(content, dict):
        return f"an object with the keys {list_keys(list(content)[:3])}"
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return f"a list of objects with the keys {list_keys(content[0])}"
    return describe(content)


def read_pairs(path: Path, meaning: str) -> list[tuple[str, Any]]:
    """The pairs of a JSON object whose keys are names, such as {image: caption}; a name may come twice.

    meaning: says what the object is, in messages.
    """
    content, pairs = read_with_pairs(path)
    if not isinstance(content, dict):
        raise refuse(path, f"found {describe_whole(content)}; expected one object {meaning}")
    if not content:
        raise DataError(f"{path}: the object is empty; expected {meaning}")
    return pairs


def read_with_pairs(path: Path) -> tuple[Any, list[tuple[str, Any]]]:
    """A JSON file and, if it is one object, its pairs, among which a key may come twice."""
    whole: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # The outermost object comes last.
        nonlocal whole
        whole = pairs
        return dict(pairs)

    return read_json(path, keep), whole


def read_lines(path: Path, keys: Sequence[str]) -> Iterator[Record]:
    """The objects of a JSON Lines file, one per line; blank lines are passed over."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise refuse(path, f"line {number}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise refuse(path, f"line {number}: found {describe(values)}; expected an object")
        record = Record(path, number, values, kind="line")
        record.require(*keys)
        yield record
