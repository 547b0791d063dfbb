"""Checksums of stored files, by xxh3: of a whole file, or of all but the parts that are checked when read.

They find what a disk, a copy or a program has changed by accident. They keep nobody from changing a file and
its checksum together.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import xxhash

from tpr.errors import DataError
from tpr.whole_files import write_whole

SEAL = "checksum"
"""Key under which a JSON file holds the checksum of all its other content."""
BLOCK = 2**20

Spans = tuple[tuple[int, int], ...]
"""Begin and end of parts of a file, in ascending order."""


@dataclass(frozen=True)
class Checksum:
    """What a file must hold."""

    size: int
    """Bytes of the file."""
    digest: str
    """xxh3 of 64 bits, as 16 hexadecimal digits."""
    left_out: Spans = ()
    """Parts that the digest does not cover."""

    @classmethod
    def from_plain(cls, size: int, digest: str, left_out: Sequence[Sequence[int]]) -> "Checksum":
        """As it comes back from JSON. Raises TypeError or ValueError for what is none."""
        spans = tuple((int(begin), int(end)) for begin, end in left_out)
        return cls(int(size), str(digest), spans)


def hash_bytes(content: bytes) -> int:
    """The checksum of a piece of memory, in [0, 2**64)."""
    return xxhash.xxh3_64_intdigest(content)


def sum_file(path: Path, left_out: Spans = ()) -> Checksum:
    """The checksum of a file as it is now. Raises OSError."""
    size = path.stat().st_size
    return Checksum(size, _digest_file(path, size, left_out), left_out)


def verify_file(path: Path, expected: Checksum) -> None:
    """Raise DataError that begins with the path unless the file holds what it did when it was written.

    A file is read once per process as long as its size, times and inode stay.
    """
    try:
        facts = path.stat()
        if facts.st_size != expected.size:
            raise DataError(f"{path}: is damaged ({facts.st_size:,} bytes, expected {expected.size:,})")
        state = (facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns)
        found = _digest_once(path, expected.size, expected.left_out, state)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if found != expected.digest:
        raise DataError(f"{path}: is damaged (it does not match its checksum)")


@lru_cache(maxsize=4096)
def _digest_once(path: Path, size: int, left_out: Spans, state: tuple[int, int, int]) -> str:
    return _digest_file(path, size, left_out)


def _digest_file(path: Path, size: int, left_out: Spans) -> str:
    digest = xxhash.xxh3_64()
    block = memoryview(bytearray(BLOCK))
    # Read, not mapped: a sector that cannot be read is an OSError here, and would end a process that maps it.
    with path.open("rb", buffering=0) as file:
        for begin, end in _list_covered(size, left_out):
            file.seek(begin)
            missing = end - begin
            while missing and (count := file.readinto(block[:missing])):
                digest.update(block[:count])
                missing -= count
    return digest.hexdigest()


def _list_covered(size: int, left_out: Spans) -> Iterator[tuple[int, int]]:
    """What lies before, between and behind the parts that are left out."""
    begin = 0
    for first, last in left_out:
        yield begin, first
        begin = last
    yield begin, size


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file with a checksum of its content, whole or not at all. Raises OSError."""
    plain = json.loads(json.dumps(content, default=str))
    write_whole(path, json.dumps({SEAL: _digest_json(plain), **plain}, indent=1))


def read_sealed(path: Path, *, older_format: int | None = None) -> dict[str, Any]:
    """The content of such a file. Raises DataError that begins with the path if it is missing or damaged.

    older_format: a file of this `format` needs no checksum.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if SEAL in content or content.get("format") != older_format:
            seal = content.pop(SEAL, None)
            if seal != _digest_json(content):
                raise DataError(f"{path}: is damaged (it does not match its checksum)")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    plain: dict[str, Any] = content
    return plain


def _digest_json(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_64_hexdigest(text.encode())
