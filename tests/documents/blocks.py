"""Fenced blocks, commands and names out of the documents."""

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
EXTENDING = [ROOT / "docs" / "extend.md", ROOT / "docs" / "extend_input.md"]
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "captions" / "README.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACED = re.compile(r"# ((?:configs|tpr)/\S+\.(?:yaml|py))\b")
ADDITION = "Add a"


class Block(NamedTuple):
    """One fenced block."""

    document: Path
    section: str
    """Heading above it."""
    language: str
    text: str

    @property
    def place(self) -> str | None:
        """The file that the block's first line names, below the root of the project."""
        found = PLACED.match(self.text)
        return found[1] if found else None

    @property
    def is_addition(self) -> bool:
        """Part of one of the ways to extend the package."""
        return self.document in EXTENDING and self.section.startswith(ADDITION)

    def __str__(self) -> str:
        return f"{self.document.name}-{self.section}-{self.language}"


def find_blocks(*languages: str) -> list[Block]:
    """All blocks of these languages, in order."""
    return [block for document in DOCUMENTS for block in blocks_of(document) if block.language in languages]


def blocks_of(document: Path) -> Iterator[Block]:
    """The blocks of one document."""
    text = document.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        headings = re.findall(r"^#+ (.*)$", without_blocks(text[: match.start()]), re.MULTILINE)
        yield Block(document, headings[-1], match[1], match[2])


def without_blocks(text: str) -> str:
    """The prose and tables."""
    return FENCE.sub("", text)


def commands_of(text: str) -> list[list[str]]:
    """The words of each command in a shell block, without comments and settings of variables."""
    lines = text.replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [drop_settings(words) for words in split if words]


def drop_settings(words: list[str]) -> list[str]:
    """Without `NAME=value` in front."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def inline_commands(text: str) -> list[list[str]]:
    """Commands in the prose that can be typed as they are: no placeholder in capitals, no dots."""
    found = re.findall(r"`((?:tpr|sh)\s[^`]+)`", without_blocks(text))
    return [shlex.split(command) for command in found if not re.search(r"\b[A-Z]{2,}\b|\.\.\.", command)]


def expand_braces(path: str) -> list[str]:
    """`a/{b,c}.yaml` as a/b.yaml and a/c.yaml."""
    parts = re.split(r"\{([^}]*)\}", path)
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(choice) for choice in product(*choices)]


def table_rows(text: str) -> list[list[str]]:
    """Cells of every table row of a document, rules left out."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [row for row in cells if not set("".join(row)) <= set("-: ")]


def section_of(document: Path, title: str) -> str:
    """Prose and tables below one heading of a document."""
    parts = re.split(r"^## ", without_blocks(document.read_text(encoding="utf-8")), flags=re.MULTILINE)
    (found,) = (part for part in parts if part.startswith(f"{title}\n"))
    return found
