"""Reading annotation files: every mistake in one ends as one line that names file, record and key.

A path in an annotation may only lead to a place below the data set's folder.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tpr.errors import DataError

DRIVE = re.compile(r"^[A-Za-z]:")
INTEGER_LIMIT = 2**63


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
        raise DataError(f"{self.path}: {self.kind} {self.number}: {problem}")

    def require(self, *keys: str) -> None:
        """Every key must be there."""
        missing = [key for key in keys if key not in self.values]
        if missing:
            self.fail(
                f"found the keys {', '.join(map(str, self.values)) or 'none'}; expected {', '.join(keys)}"
            )

    def text(self, key: str) -> str:
        """A string."""
        value = self.values[key]
        if not isinstance(value, str):
            self.fail(f"'{key}' must be a string, found {describe(value)}")
        return value

    def integer(self, key: str) -> int:
        """A whole number of 64 bits; true and false are none."""
        value = self.values[key]
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

    def picture(self, key: str) -> str:
        """A path with forward slashes that stays below the folder it is joined to."""
        return check_path(self.text(key), f"{self.path}: {self.kind} {self.number}")


def describe(value: Any) -> str:
    """Kind and, if short, content of a wrong value."""
    kinds = {type(None): "nothing", dict: "an object", str: "a string", bool: "true or false"}
    if isinstance(value, list):
        inner = sorted({kinds.get(type(item), type(item).__name__) for item in value})
        return f"a list of {', '.join(inner)}" if value else "an empty list"
    kind = kinds.get(type(value), type(value).__name__)
    shown = json.dumps(value, default=str)
    return f"{kind} {shown}" if len(shown) <= 40 and value is not None else kind


def check_path(path: str, where: str) -> str:
    """The path with forward slashes; DataError if it is empty, absolute or climbs with '..'."""
    clean = path.replace("\\", "/")
    while clean.startswith("./"):
        clean = clean[2:]
    if not clean or clean.startswith("/") or DRIVE.match(clean) or ".." in clean.split("/") or "\0" in clean:
        raise DataError(f"{where}: the picture path {path!r} is empty or leaves the data set's folder")
    return clean


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


def read_json(path: Path) -> Any:
    """A JSON file; DataError with line and column if it is not JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: not JSON ({error.msg} at {place}); fetch the file again") from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: not JSON that can be read ({error})") from None


def read_records(path: Path, keys: Sequence[str]) -> Iterator[Record]:
    """The objects of a JSON list; each must have `keys`."""
    records = read_json(path)
    if not isinstance(records, list):
        raise DataError(
            f"{path}: found {describe_whole(records)}; expected a list of objects with {', '.join(keys)}"
        )
    yield from check_records(path, records, keys)


def check_records(path: Path, records: list[Any], keys: Sequence[str]) -> Iterator[Record]:
    """The objects of a list that was read already."""
    if not records:
        raise DataError(f"{path}: the list is empty; expected objects with {', '.join(keys)}")
    for number, values in enumerate(records):
        if not isinstance(values, dict):
            raise DataError(
                f"{path}: record {number}: found {describe(values)}; expected keys {', '.join(keys)}"
            )
        record = Record(path, number, values)
        record.require(*keys)
        yield record


def describe_whole(content: Any) -> str:
    """What a whole annotation file holds, with its first keys."""
    if isinstance(content, dict):
        first = [str(key) for key in list(content)[:3]]
        return f"an object with the keys {', '.join(first) or 'none'}"
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return f"a list of objects with the keys {', '.join(map(str, content[0]))}"
    return describe(content)


def read_object(path: Path, meaning: str) -> dict[str, Any]:
    """A JSON object whose keys are names, such as {picture: caption}; `meaning` says so in messages."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: found {describe_whole(content)}; expected one object {meaning}")
    if not content:
        raise DataError(f"{path}: the object is empty; expected {meaning}")
    return content


def read_lines(path: Path, keys: Sequence[str]) -> Iterator[Record]:
    """The objects of a JSON Lines file, one per line; blank lines are passed over."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise DataError(f"{path}: line {number}: found {describe(values)}; expected an object")
        record = Record(path, number, values, kind="line")
        record.require(*keys)
        yield record
