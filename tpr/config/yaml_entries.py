"""One YAML document as entries that remember their line; stricter than PyYAML where that helps.

Only true/false are booleans, plain decimal digits are integers: `on`, `010`, `1:30` and dates stay text,
which the declared type of an option then accepts or refuses. What PyYAML writes, this reads back unchanged.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from tpr.errors import ConfigError

Mappings = dict[str, "Entry"]
MOST_ENTRIES = 20_000
"""Values one file may hold once its aliases are written out; aliases of aliases can make millions."""


@dataclass(frozen=True)
class Entry:
    """One value, a mapping or a list of entries, and where it was written."""

    value: Any
    """dict[str, Entry], list[Entry], or a plain value: str, int, float, bool, None."""
    origin: str


class StrictLoader(yaml.SafeLoader):
    """SafeLoader with fewer words and digits that mean something else than they look like."""

    yaml_implicit_resolvers = {}


def _resolve(tag: str, pattern: str, first: str) -> None:
    StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first)
    )


_DIGITS, _EXPONENT = "[0-9][0-9_]*", "(?:[eE][-+][0-9]+)?"
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", "[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789")
_resolve(
    "float",
    rf"[-+]?{_DIGITS}\.[0-9_]*{_EXPONENT}|\.{_DIGITS}{_EXPONENT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+0123456789.",
)
_resolve("merge", "<<", "<")
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile("^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)


def parse_document(text: str, place: Callable[[int], str], error_prefix: str | None = None) -> Entry | None:
    """The only document in a text; None where it is empty.

    place: line number from 1 -> origin. error_prefix: replaces the origin in messages.
    Raises ConfigError in one line: syntax, repeated keys, keys that are no names, tags, too many values.
    """
    try:
        return _Document(text, place, error_prefix).read()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = " ".join(str(error.problem or error.context).split())
        if "'\\t'" in problem:
            problem += "; indent with spaces, not tabs"
        raise ConfigError(f"{error_prefix or place(line)}: not valid YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{error_prefix or place(1)}: not valid YAML: {error.reason}") from None
    except RecursionError:
        raise ConfigError(f"{error_prefix or place(1)}: values lie too deep or contain themselves") from None


class _Document:
    """Walks the nodes of one document."""

    def __init__(self, text: str, place: Callable[[int], str], error_prefix: str | None) -> None:
        self.text = text
        self.place = place
        self.error_prefix = error_prefix
        self.entries_left = MOST_ENTRIES

    def read(self) -> Entry | None:
        self.loader = StrictLoader(self.text)
        try:
            node = self.loader.get_single_node()
            return None if node is None or self._is_empty(node) else self._entry(node)
        finally:
            self.loader.dispose()  # type: ignore[no-untyped-call]

    @staticmethod
    def _is_empty(node: Node) -> bool:
        return node.tag == "tag:yaml.org,2002:null"

    def _entry(self, node: Node) -> Entry:
        self.entries_left -= 1
        if self.entries_left < 0:
            raise self._error(node, f"more than {MOST_ENTRIES} values")
        origin = self.place(node.start_mark.line + 1)
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return Entry(dict(self._pairs(node)), origin)
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return Entry([self._entry(inner) for inner in node.value], origin)
        return Entry(self._scalar(node), origin)

    def _pairs(self, node: MappingNode) -> Iterator[tuple[str, Entry]]:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = self._key(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise self._error(key_node, f"the key {key!r} was already given in line {lines[key]}")
            lines[key] = line
        self.loader.flatten_mapping(node)
        for key_node, value_node in node.value:
            entry = self._entry(value_node)
            yield self._key(key_node), replace(entry, origin=self.place(key_node.start_mark.line + 1))

    def _key(self, node: Node) -> str:
        if node.tag == "tag:yaml.org,2002:merge":
            return "<<"
        key = self._scalar(node)
        if not isinstance(key, str):
            raise self._error(node, f"expected a name before the colon, got {key!r}; write it in quotes")
        if not key or not key.isprintable() or (key.startswith("__") and key.endswith("__")):
            raise self._error(node, f"{key!r} cannot be the name of an option")
        return key

    def _scalar(self, node: Node) -> Any:
        try:
            value = self.loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call]
        except ValueError:
            raise self._error(node, f"{str(node.value)[:60]!r} is no value of the kind {node.tag}") from None
        if value is not None and type(value) not in (str, int, float, bool):
            raise self._error(node, f"values of the kind {node.tag} are not allowed")
        return value

    def _error(self, node: Node, problem: str) -> ConfigError:
        return ConfigError(f"{self.error_prefix or self.place(node.start_mark.line + 1)}: {problem}")


def parse_values(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as a mapping; values are YAML. Raises ConfigError for anything else."""
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"expected key=value, got '{text}'")
        try:
            values[key] = yaml.load(value, StrictLoader)  # a kin of SafeLoader
        except yaml.YAMLError:
            raise ConfigError(f"{key}: '{value}' is not valid YAML") from None
    return values
