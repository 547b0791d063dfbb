"""YAML files, their bases and command-line overrides as one tree that knows where each value came from.

Nothing here knows option types. Two rules decide every merge: mappings merge key by key and all else is
replaced; a named group (`system`, `model`) whose name changes starts afresh. `yaml_entries.py` reads the
single file.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_type_hints

from easydict import EasyDict

from tpr.config.hints import named_kind
from tpr.config.messages import guess, show_name, show_value
from tpr.config.paths import type_path
from tpr.config.schema import Experiment
from tpr.config.yaml_entries import COMMAND_LINE, Mappings, YamlEntry, parse_document, parse_word, plain_value
from tpr.errors import ConfigError

__all__ = ["COMMAND_LINE", "Tree", "named_groups", "read_overrides", "read_stored_tree", "read_tree"]

MOST_BYTES = 1_000_000
"""Of a config file; those that this program writes have a few thousand."""


@dataclass(frozen=True)
class Tree:
    """Raw values of a run before typing."""

    values: EasyDict
    """Nested values; read keys by index, since a key such as `items` hides the method of that name."""
    origins: dict[str, str]
    """Dotted key -> `file.yaml:12` or `command line`; list entries are `data.train[0]`."""


def named_groups() -> frozenset[str]:
    """Top-level keys whose value is chosen by name from a table."""
    hints = get_type_hints(Experiment, include_extras=True)
    return frozenset(f.name for f in fields(Experiment) if named_kind(hints[f.name]) is not None)


def read_tree(path: Path, overrides: Sequence[str] = (), named: Iterable[str] | None = None) -> Tree:
    """One config file with its bases, and `key=value` overrides on top.

    named: groups that start afresh when their name changes; by default those of `Experiment`.
    Raises ConfigError in one line with file and line.
    """
    groups = frozenset(named_groups() if named is None else named)
    return _override(_read_file(Path(path), groups, ()), overrides, groups)


def read_stored_tree(text: str, shown: str, overrides: Sequence[str] = ()) -> Tree:
    """The resolved YAML text that a checkpoint holds, with overrides on top; shown: its name in messages."""
    document = parse_document(text, lambda line: shown)
    if document is None or not isinstance(document.value, dict):
        raise ConfigError(f"{shown}: the stored configuration holds no options")
    return _override(document.value, overrides, named_groups())


def read_overrides(overrides: Sequence[str]) -> Tree:
    """`key=value` overrides on top of nothing. Raises ConfigError in one line."""
    return _override({}, overrides, named_groups())


def _override(entries: Mappings, overrides: Sequence[str], groups: frozenset[str]) -> Tree:
    parsed = [_parse_override(text) for text in overrides]
    # Names go first: in `system.tau=0.1 system=rde` the new group must not swallow the other option.
    for key, entry in sorted(parsed, key=lambda item: not _sets_name(item[0], groups)):
        entries = _merge_groups(entries, _nest(key, entry), groups)
    values = {key: plain_value(entry) for key, entry in entries.items()}
    return Tree(EasyDict(values), dict(_origins(entries)))


def _read_file(path: Path, named: frozenset[str], opened: tuple[Path, ...]) -> Mappings:
    resolved = _resolve(path)
    if resolved in opened:
        circle = [*opened[opened.index(resolved) :], resolved]
        names = " -> ".join(os.path.relpath(file, circle[0].parent) for file in circle)
        raise ConfigError(f"base files form a circle: {names}")
    shown = _shown(resolved)
    document = parse_document(_read_text(resolved, shown), lambda line: f"{shown}:{line}")
    if document is None:
        raise ConfigError(f"{shown}: the file holds no options; expected lines such as 'system: NAME'")
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{document.origin}: expected options as 'key: value', got {show_value(plain_value(document))}"
        )
    own = dict(document.value)
    base = own.pop("base", None)
    merged: Mappings = {}
    for file in _base_files(base, resolved.parent):
        merged = _merge_groups(merged, _read_file(file, named, (*opened, resolved)), named)
    return _merge_groups(merged, own, named)


def _resolve(path: Path) -> Path:
    """The file that a path stands for, links followed."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # A circle of links, a NUL, a working folder that was removed.
        raise ConfigError(f"{show_name(str(path))}: cannot be read ({error})") from None


def _read_text(path: Path, shown: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{shown}: no config file, it has more than {MOST_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        if "=" in path.name:
            raise ConfigError(f"{path.name}: a config file is expected before any key=value") from None
        near = sorted(file.name for file in path.parent.glob("*.yaml"))
        raise ConfigError(f"{shown}: no such config file{guess(path.name, near)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not a text file in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read ({error.strerror})") from None


def _shown(path: Path) -> str:
    """A path as a user would type it: relative below the working folder, else whole; always one line."""
    # A working folder that was removed has no name.
    with suppress(OSError):
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    shown = str(path)
    return shown if shown.isprintable() else show_value(shown)


def _base_files(base: YamlEntry | None, folder: Path) -> list[Path]:
    if base is None:
        return []
    return [
        _base_file(entry, base, folder) for entry in (base.value if isinstance(base.value, list) else [base])
    ]


def _base_file(entry: YamlEntry, base: YamlEntry, folder: Path) -> Path:
    if not isinstance(entry.value, str):
        found = show_value(plain_value(base))
        raise ConfigError(f"base: expected a file or a list of files, got {found} (in {base.origin})")
    try:
        file = folder / type_path(entry.value)
    except ValueError as error:
        raise ConfigError(f"base: {error} (in {entry.origin})") from None
    if not os.path.isfile(file):  # noqa: PTH113 - that of pathlib raises where a folder may not be read
        raise ConfigError(
            f"base: no file {show_value(entry.value)} next to this one; bases are relative to their file "
            f"(in {entry.origin})"
        )
    return file


def _merge_groups(under: Mappings, over: Mappings, named: frozenset[str]) -> Mappings:
    """Top level of a merge: named groups are spelled out, and dropped when their name changes."""
    merged = dict(under)
    for key, given in over.items():
        is_bare_name = key in named and isinstance(given.value, str)
        entry = YamlEntry({"name": given}, given.origin) if is_bare_name else given
        before = merged.get(key)
        starts_afresh = key in named and before is not None and _is_renamed(before, entry)
        merged[key] = _merge(None if starts_afresh else before, entry)
    return merged


def _is_renamed(before: YamlEntry, entry: YamlEntry) -> bool:
    if not (isinstance(before.value, dict) and isinstance(entry.value, dict)):
        return False
    if "name" not in before.value or "name" not in entry.value:
        return False
    return bool(plain_value(before.value["name"]) != plain_value(entry.value["name"]))


def _merge(under: YamlEntry | None, over: YamlEntry) -> YamlEntry:
    if under is None or not (isinstance(under.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(under.value)
    for key, entry in over.value.items():
        merged[key] = _merge(merged.get(key), entry)
    return YamlEntry(merged, over.origin)


def _parse_override(text: str) -> tuple[str, YamlEntry]:
    key, entry = parse_word(text)
    name, bracket, _ = key.partition("[")
    if bracket and not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"command line: {show_name(key)} is no option's name; expected key=value, such as optim.lr=1e-5"
        )
    if bracket:
        raise ConfigError(
            f"command line: {show_name(key)}: entries of a list are not set one by one; "
            f"give the whole list, {show_name(name)}=[...]"
        )
    if key == "base" or key.startswith("base."):
        raise ConfigError("command line: base belongs into a config file")
    return key, entry


def _sets_name(key: str, named: frozenset[str]) -> bool:
    group, _, rest = key.partition(".")
    return group in named and rest in ("", "name")


def _nest(key: str, entry: YamlEntry) -> Mappings:
    first, *rest = key.split(".")
    for part in reversed(rest):
        entry = YamlEntry({part: entry}, COMMAND_LINE)
    return {first: entry}


def _origins(entries: Mappings, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, entry in entries.items():
        yield from _origins_below(prefix + key, entry)


def _origins_below(where: str, entry: YamlEntry) -> Iterator[tuple[str, str]]:
    yield where, entry.origin
    if isinstance(entry.value, dict):
        yield from _origins(entry.value, f"{where}.")
    if isinstance(entry.value, list):
        for index, inner in enumerate(entry.value):
            yield from _origins_below(f"{where}[{index}]", inner)
