"""A raw tree -> frozen dataclasses, with messages that say where, what was found and what was expected.

Which options a name has comes from tables, so this file knows no system, model or dataset. The way back
to plain values is `resolved.py`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from tpr.config.groups import groups_of
from tpr.config.hints import Tables, is_union, named_kind, type_hints, type_words, union_members, walk_options
from tpr.config.messages import class_title, guess, nearest, show_name, show_value
from tpr.config.reader import COMMAND_LINE, Tree, read_tree
from tpr.config.renamed import rename_options
from tpr.config.resolved import dump_yaml, fingerprint, to_tree
from tpr.config.scalars import convert_scalar
from tpr.config.schema import Choice, Experiment
from tpr.errors import ConfigError

__all__ = [
    "Tables",
    "build_experiment",
    "build_options",
    "dump_yaml",
    "fill_protocols",
    "fingerprint",
    "read_experiment",
    "to_tree",
]

T = TypeVar("T")
CHOICES_WITHOUT_GUESS = 6
"""So many choices are listed without guessing: bf16 for a misspelt fp16 would mislead."""


def read_experiment(path: Path, overrides: Sequence[str], tables: Tables) -> Experiment:
    """A config file with overrides as one checked experiment; raises ConfigError in one line."""
    return build_experiment(read_tree(path, overrides), tables)


def build_experiment(tree: Tree | Mapping[str, Any], tables: Tables) -> Experiment:
    """The typed experiment of a tree, relations between groups checked; raises ConfigError in one line."""
    values, origins = (tree.values, tree.origins) if isinstance(tree, Tree) else (tree, {})
    builder = _Builder(tables, origins, Experiment)
    experiment: Experiment = builder.convert_options(Experiment, values, "")
    try:
        experiment.check()
    except ConfigError as error:
        raise ConfigError(f"{error}{builder.origin_of_message(str(error), '')}") from None
    return experiment


def build_options(cls: type[T], values: Mapping[str, Any], tables: Tables, where: str = "") -> T:
    """Any options dataclass from plain values; where: dotted name that messages begin with."""
    result: T = _Builder(tables, {}, cls).convert_options(cls, values, where)
    return result


def fill_protocols(experiment: Experiment, tables: Tables) -> Experiment:
    """The same experiment with the options of every protocol, as one that was read has them."""
    given = experiment.evaluation.protocols
    filled = {name: given.get(name, options()) for name, options in tables["protocol"].items()}
    return replace(experiment, evaluation=replace(experiment.evaluation, protocols=filled))


class _Builder:
    """Converts values by declared type; every `where` is the dotted name of the value at hand."""

    def __init__(self, tables: Tables, origins: Mapping[str, str], schema: type[Any]) -> None:
        self.tables = tables
        self.origins = origins
        self.schema = schema

    def convert_options(self, cls: type[Any], values: Any, where: str) -> Any:
        """A dataclass from a mapping."""
        if not isinstance(values, Mapping):
            raise self.error(where, f"expected options of {class_title(cls)}, got {show_value(values)}")
        declared, hints = {field.name: field for field in fields(cls) if field.init}, type_hints(cls)
        groups = {name: self.tables.get(kind, {}) for name in declared if (kind := groups_of(declared[name]))}
        known = [name for field in declared for name in groups.get(field, [field])]
        values = rename_options(values, known, where, self.origins)
        for key in values:
            if key not in known:
                raise self.unknown(cls, show_name(key), known, where)
        arguments = {}
        for name, field in declared.items():
            if name in groups:
                arguments[name] = {
                    entry: self.convert_options(options, values.get(entry, {}), _join(where, entry))
                    for entry, options in groups[name].items()
                }
            elif name in values or is_dataclass(field.default_factory):
                # A group that is not given may hold groups of tables, which are filled.
                arguments[name] = self.convert(values.get(name, {}), hints[name], _join(where, name))
            elif _is_required(field):
                raise self.missing(hints[name], _join(where, name))
        try:
            return cls(**arguments)
        except ConfigError as error:
            prefix = f"{where}: " if where else ""
            raise ConfigError(f"{prefix}{error}{self.origin_of_message(str(error), where)}") from None

    def convert(self, value: Any, hint: Any, where: str) -> Any:
        """A value as its declared type."""
        kind = named_kind(hint)
        if kind is not None:
            return self.convert_choice(value, kind, where)
        if is_union(hint):
            return self.convert_union(value, hint, where)
        if is_dataclass(hint):
            return self.convert_options(hint, value, where)  # type: ignore[arg-type]
        if hint is Any:
            return value
        special = {
            Literal: self.convert_literal,
            tuple: self.convert_tuple,
            dict: self.convert_dictionary,
        }.get(get_origin(hint))
        if special is not None:
            return special(value, hint, where)
        try:
            return convert_scalar(value, hint)
        except ValueError as error:
            raise self.error(where, str(error)) from None

    def convert_choice(self, value: Any, kind: str, where: str) -> Choice:
        """A named entry of a table: a bare name, or options with a name."""
        table = self.tables.get(kind, {})
        known = f"known: {', '.join(sorted(table))}"
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise self.error(
                where, f"expected a name or options with a name, got {show_value(value)}; {known}"
            )
        if "name" not in value:
            raise self.error(_join(where, "name"), f"not given; {known}")
        name = value["name"]
        if not isinstance(name, str) or name not in table:
            near = guess(name, table) if isinstance(name, str) else ""
            raise self.error(_join(where, "name"), f"{show_value(name)} is not known{near}; {known}")
        rest = {key: value[key] for key in value if key != "name"}
        return Choice(name, self.convert_options(table[name], rest, where))

    def convert_union(self, value: Any, hint: Any, where: str) -> Any:
        """The first member that accepts the value; mappings go to the member that has options."""
        members = union_members(hint)
        # Python's word for nothing is no value of an optional option: `data.cache: None` is no folder.
        if type(None) in get_args(hint) and (value is None or _is_text(value, "None")):
            return None
        with_options = [member for member in members if is_dataclass(member) or named_kind(member)]
        if len(members) == 1 or (isinstance(value, Mapping) and len(with_options) == 1):
            return self.convert(value, (with_options or members)[0], where)
        for member in members:
            try:
                return self.convert(value, member, where)
            except ConfigError:
                continue
        words = " or ".join(type_words(member, self.tables) for member in members)
        raise self.error(where, f"expected {words}, got {show_value(value)}")

    def convert_literal(self, value: Any, hint: Any, where: str) -> Any:
        """One of a few values; text also stands for a choice that is written the same."""
        choices = get_args(hint)
        for choice in choices:
            if (type(choice) is type(value) and choice == value) or _is_text(value, str(choice)):
                return choice
        words = [str(choice) for choice in choices]
        has_guess = len(words) > CHOICES_WITHOUT_GUESS and isinstance(value, str)
        near = guess(value, words) if has_guess else ""
        raise self.error(where, f"expected one of {', '.join(words)}, got {show_value(value)}{near}")

    def convert_tuple(self, value: Any, hint: Any, where: str) -> Any:
        """A list of one type, or a fixed number of values."""
        inner = get_args(hint)
        is_free = Ellipsis in inner
        if not isinstance(value, (list, tuple)):
            is_one_entry = is_free and isinstance(value, (str, int, float))
            advice = f"; write [{show_name(value)}]" if is_one_entry else ""
            raise self.error(where, f"expected a list, got {show_value(value)}{advice}")
        if not is_free and len(inner) != len(value):
            found = f"got {len(value)}: {show_value(list(value))}"
            raise self.error(where, f"expected {len(inner)} values, {found}")
        if is_free:
            inner = (inner[0],) * len(value)
        pairs = enumerate(zip(value, inner, strict=True))
        return tuple(self.convert(entry, part, f"{where}[{index}]") for index, (entry, part) in pairs)

    def convert_dictionary(self, value: Any, hint: Any, where: str) -> Any:
        """Free names, each with a value of one type."""
        if not isinstance(value, Mapping):
            raise self.error(where, f"expected 'name: value' pairs, got {show_value(value)}")
        for key in value:
            if not isinstance(key, str):
                raise self.error(where, f"expected names as text, got {show_value(key)}")
        inner = get_args(hint)[1]
        return {key: self.convert(value[key], inner, _join(where, show_name(key))) for key in value}

    def error(self, where: str, problem: str) -> ConfigError:
        """The message with the place that the value came from."""
        return ConfigError(
            f"{where or 'configuration'}: {problem}{_origin_words(self.nearest_origin(where))}"
        )

    def missing(self, hint: Any, where: str) -> ConfigError:
        """A required option has no value."""
        kind = named_kind(hint)
        known = f"known: {', '.join(sorted(self.tables.get(kind, {})))}" if kind else ""
        return self.error(where, f"not given; {known or 'expected ' + type_words(hint, self.tables)}")

    def unknown(self, cls: type[Any], key: str, declared: list[str], where: str) -> ConfigError:
        """An option that does not exist: the nearest of its group, or of the whole schema."""
        near = guess(key, declared)
        near += self.guess_elsewhere(key, _join(where, key), allow_similar=not near)
        listed = f"options: {', '.join(declared)}" if declared else "it has no options"
        return self.error(_join(where, key), f"no such option in {class_title(cls)}{near}; {listed}")

    def guess_elsewhere(self, key: str, asked: str, *, allow_similar: bool) -> str:
        """Options of the same name in other groups, or of a similar one; asked: what there is not."""
        places: dict[str, str] = {}
        for option in walk_options(self.schema, self.tables):
            is_other = "[]" not in option.dotted and option.dotted != asked
            if is_other and not is_dataclass(option.hint):
                places.setdefault(option.dotted, option.field.name)
        exact = key in places.values()
        name = key if exact or not allow_similar else nearest(key, places.values())
        found = [f"`{dotted}`" for dotted, leaf in places.items() if leaf == name]
        return f" (there is {', '.join(found[:3])})" if found else ""

    def nearest_origin(self, where: str) -> str | None:
        """Origin of a dotted name, or of the group or list that it stands in."""
        while where and where not in self.origins:
            where = where[: max(where.rfind("."), where.rfind("["), 0)]
        return self.origins.get(where)

    def origin_of_message(self, message: str, where: str) -> str:
        """Origin of the first given option that a message of a check names, else of its group."""
        for word in re.findall(r"[A-Za-z_][\w.]*(?:\[\d+\])?", message):
            if _join(where, word) in self.origins:
                return _origin_words(self.origins[_join(where, word)])
        return _origin_words(self.nearest_origin(where))


def _is_required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _is_text(value: Any, text: str) -> bool:
    return isinstance(value, str) and value == text


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _origin_words(origin: str | None) -> str:
    if origin is None:
        return ""
    return " (on the command line)" if origin == COMMAND_LINE else f" (in {origin})"
