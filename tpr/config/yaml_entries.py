"""One YAML document as entries that remember their line; stricter than PyYAML where that helps.

Only true/false are booleans, plain decimal digits are integers: `on`, `010`, `1:30` and dates stay text,
which the declared type of an option then accepts or refuses. What PyYAML writes, this reads back unchanged.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tpr.config.messages import shorten, show_name, show_value
from tpr.errors import ConfigError

Mappings = dict[str, "YamlEntry"]
COMMAND_LINE = "command line"
MOST_ENTRIES = 20_000
"""Values one file may hold once its aliases are written out; aliases of aliases can make millions."""
MOST_LEVELS = 50
"""Mappings and lists that may lie in one another; options have fewer than ten."""
TOO_DEEP = f"values lie more than {MOST_LEVELS} levels deep, or contain themselves"
TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = frozenset(TAG + kind for kind in ("str", "int", "float", "bool", "null"))
"""Values of these kinds are built; nothing else that a tag can ask for is."""


@dataclass(frozen=True)
class YamlEntry:
    """One value, a mapping or a list of entries, and where it was written."""

    value: Any
    """dict[str, Entry], list[Entry], or a plain value: str, int, float, bool, None."""
    origin: str


class StrictLoader(yaml.SafeLoader):
    """SafeLoader with fewer words and digits that mean something else than they look like."""

    yaml_implicit_resolvers = {}


def _resolve(tag: str, pattern: str, first: str) -> None:
    StrictLoader.add_implicit_resolver(TAG + tag, re.compile(f"^(?:{pattern})$"), list(first))


_DIGITS, _EXPONENT = "[0-9][0-9_]*", "(?:[eE][-+][0-9]+)?"
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", "[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789")
_resolve(
    "float",
    rf"[-+]?{_DIGITS}\.[0-9_]*{_EXPONENT}|\.{_DIGITS}{_EXPONENT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+0123456789.",
)
_resolve("merge", "<<", "<")
StrictLoader.add_implicit_resolver(f"{TAG}null", re.compile("^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])


def parse_document(
    text: str, place: Callable[[int], str], error_prefix: str | None = None
) -> YamlEntry | None:
    """The only document in a text; None where it is empty.

    place: line number from 1 -> origin. error_prefix: replaces the origin in messages.
    Raises ConfigError in one line: syntax, repeated keys, keys that are no names, tags, too many values.
    """
    try:
        return _Document(text, place, error_prefix).read()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = shorten(" ".join(str(error.problem or error.context).split()))
        if "'\\t'" in problem:
            problem += "; indent with spaces, not tabs"
        raise ConfigError(f"{error_prefix or place(line)}: not valid YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{error_prefix or place(1)}: not valid YAML: {error.reason}") from None
    except RecursionError:
        raise ConfigError(f"{error_prefix or place(1)}: {TOO_DEEP}") from None
    except (ValueError, OverflowError):
        # PyYAML turns `"\\UFFFFFFFF"` into a letter without asking whether there is one.
        raise ConfigError(
            f"{error_prefix or place(1)}: not valid YAML: an escape such as \\U00110000 is no letter"
        ) from None


class _Document:
    """Walks the nodes of one document."""

    def __init__(self, text: str, place: Callable[[int], str], error_prefix: str | None) -> None:
        self.text = text
        self.place = place
        self.error_prefix = error_prefix
        self.entries_left = MOST_ENTRIES
        self.level = 0

    def read(self) -> YamlEntry | None:
        self.loader = StrictLoader(self.text)
        try:
            node = self.loader.get_single_node()
            return None if node is None or node.tag == f"{TAG}null" else self._entry(node)
        finally:
            self.loader.dispose()  # type: ignore[no-untyped-call]

    def _entry(self, node: Node) -> YamlEntry:
        self.entries_left -= 1
        if self.entries_left < 0:
            raise self._error(node, f"more than {MOST_ENTRIES} values")
        if self.level > MOST_LEVELS:
            raise self._error(node, TOO_DEEP)
        self.level += 1
        entry = YamlEntry(self._value(node), self.place(node.start_mark.line + 1))
        self.level -= 1
        return entry

    def _value(self, node: Node) -> Any:
        if isinstance(node, MappingNode) and node.tag == f"{TAG}map":
            return self._mapping(node)
        if isinstance(node, SequenceNode) and node.tag == f"{TAG}seq":
            return [self._entry(inner) for inner in node.value]
        return self._scalar(node)

    def _mapping(self, node: MappingNode) -> Mappings:
        """The entries of a mapping over those that its `<<` brings in."""
        own: Mappings = {}
        merged: Mappings = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = self._key(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise self._error(
                    key_node, f"the key {show_value(key)} was already given in line {lines[key]}"
                )
            lines[key] = line
            if key_node.tag == f"{TAG}merge":
                merged = self._merged(value_node)
            else:
                own[key] = replace(self._entry(value_node), origin=self.place(line))
        return {**merged, **own}

    def _merged(self, node: Node) -> Mappings:
        """What `<<` brings in; of several mappings the first wins."""
        merged: Mappings = {}
        for part in reversed(node.value) if isinstance(node, SequenceNode) else [node]:
            entry = self._entry(part)
            if not isinstance(entry.value, dict):
                raise self._error(part, f"'<<' takes mappings, got {show_value(plain_value(entry))}")
            merged |= entry.value
        return merged

    def _key(self, node: Node) -> str:
        if node.tag == f"{TAG}merge":
            return "<<"
        key = self._scalar(node)
        if not isinstance(key, str):
            raise self._error(
                node, f"expected a name before the colon, got {show_value(key)}; write it in quotes"
            )
        if not key or not key.isprintable() or (key.startswith("__") and key.endswith("__")):
            raise self._error(node, f"{show_value(key)} cannot be the name of an option")
        return key

    def _scalar(self, node: Node) -> Any:
        if not isinstance(node, ScalarNode) or node.tag not in PLAIN_TAGS:
            raise self._error(node, f"values of the kind {show_name(node.tag)} are not allowed")
        try:
            value = self.loader.construct_object(node)  # type: ignore[no-untyped-call]
        except (ValueError, LookupError, OverflowError):
            raise self._error(
                node, f"{show_value(node.value)} is no value of the kind {show_name(node.tag)}"
            ) from None
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self._error(node, f"{show_value(value)} holds half a letter, which no file can hold")
        return value

    def _error(self, node: Node, problem: str) -> ConfigError:
        return ConfigError(f"{self.error_prefix or self.place(node.start_mark.line + 1)}: {problem}")


def parse_word(text: str) -> tuple[str, YamlEntry]:
    """Key and value of a `key=value` word of a command line; the value is YAML. Raises ConfigError."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")) or not key.isprintable():
        raise ConfigError(f"command line: expected key=value, got {show_value(text)}")
    if key.count(".") >= MOST_LEVELS:
        raise ConfigError(f"command line: {shorten(key)}: more than {MOST_LEVELS} names")
    shown = f"command line: {show_name(text)}"
    return key, parse_document(value, lambda _: COMMAND_LINE, shown) or YamlEntry(None, COMMAND_LINE)


def parse_values(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as a mapping; values are YAML. Raises ConfigError for anything else."""
    entries = (parse_word(text) for text in texts)
    return {key: plain_value(entry) for key, entry in entries}


def plain_value(entry: YamlEntry) -> Any:
    """The value of an entry without its origins."""
    if isinstance(entry.value, dict):
        return {key: plain_value(inner) for key, inner in entry.value.items()}
    if isinstance(entry.value, list):
        return [plain_value(inner) for inner in entry.value]
    return entry.value
