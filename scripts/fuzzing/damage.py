"""Random damage to bytes: flips, truncations, insertions, splices, and values of texts exchanged."""

import re
from collections.abc import Callable, Sequence
from random import Random

TOKENS = (
    b"null", b"NaN", b"-Infinity", b"1e999", b"true", b"-1", b"0", b"1.0", b"1.5", b'""', b"[]", b"{}",
    b"[null]", b"9" * 40, b"9" * 5000, b'"\\ud800"', b'"\\u0000"', b"\xff\xfe", b"\0", b'"../../x.jpg"',
    b'"/etc/passwd"', b"[" * 200, b"\xe2\x80\xaf", b"!!python/name:os.system", b"!!timestamp x", b"!!int ''",
    b"&a [*a]", b"<<: 1", b"\t", b"\r", b"---\n", b"~", b".nan", b'"\\U00110000"', b"{a: " * 60,
)  # fmt: skip
"""What texts hold that surprises their readers."""
VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.]*|\b[a-z_]+\b')
LONGEST_PIECE = 64
FEW = (1, 1, 1, 2, 4)
"""Damages of one file; mostly one, so that the rest is looked at."""


def damage(content: bytes, random: Random) -> bytes:
    """The content with one to four places damaged; a file is small enough to be copied."""
    for _ in range(random.choice(FEW)):
        content = random.choice(DAMAGES)(content, random)
    return content


def damage_text(content: bytes, random: Random) -> bytes:
    """A text with values exchanged for surprising ones or for one another; now and then damaged bytes."""
    if random.random() < 0.2:
        return damage(content, random)
    for _ in range(random.choice(FEW)):
        found = [match.span() for match in VALUE.finditer(content)]
        if found:
            (start, end), other = random.choice(found), slice(*random.choice(found))
            piece = random.choice(TOKENS) if random.random() < 0.5 else content[other]
            content = content[:start] + piece + content[end:]
    return content


def _place(content: bytes, random: Random) -> int:
    """A place in the content; headers at the beginning and tables at the end count more."""
    size = len(content)
    if random.random() < 0.5:
        return random.randrange(size + 1)
    near = min(size, random.choice((32, 256, 4096)))
    return random.randrange(near + 1) if random.random() < 0.5 else size - random.randrange(near + 1)


def _flip(content: bytes, random: Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 8)) if content else 0):
        spoilt[min(_place(content, random), len(content) - 1)] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def _overwrite(content: bytes, random: Random) -> bytes:
    start, piece = _place(content, random), _piece(random)
    return content[:start] + piece + content[start + len(piece) :]


def _insert(content: bytes, random: Random) -> bytes:
    start = _place(content, random)
    return content[:start] + _piece(random) + content[start:]


def _remove(content: bytes, random: Random) -> bytes:
    start = _place(content, random)
    return content[:start] + content[start + random.randint(1, LONGEST_PIECE) :]


def _truncate(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random)]


def _splice(content: bytes, random: Random) -> bytes:
    """A part of the content takes another place in it as well."""
    start, end = sorted((_place(content, random), _place(content, random)))
    to = _place(content, random)
    return content[:to] + content[start:end] + content[to:]


def _piece(random: Random) -> bytes:
    if random.random() < 0.3:
        return random.choice((b"\0", b"\xff", b"\x7f")) * random.randint(1, LONGEST_PIECE)
    return random.randbytes(random.randint(1, LONGEST_PIECE))


DAMAGES: Sequence[Callable[[bytes, Random], bytes]] = (
    _flip, _flip, _flip, _overwrite, _insert, _remove, _truncate, _splice,
)  # fmt: skip
