"""Every option with type, default and sentence; sentences come from the source, so help cannot drift."""

import ast
import inspect
import textwrap
from dataclasses import MISSING, is_dataclass
from functools import cache
from typing import Any, NamedTuple

from tpr.config.groups import groups_of
from tpr.config.hints import OptionField, Tables, type_words, walk_options
from tpr.config.resolved import dump_value, plain_value


class OptionRow(NamedTuple):
    """One line of `tpr options`."""

    name: str
    """Dotted name, as on the command line."""
    type: str
    """What it accepts; `options` for a group."""
    default: str
    """As YAML; `required` where there is none, empty for a group."""
    sentence: str
    """What it does."""
    choice: str = ""
    """`system=rde` for an option of that table entry, empty for one that every run has."""


def describe_options(cls: type[Any], tables: Tables) -> list[OptionRow]:
    """Rows of all options below a dataclass, in declared order, options of table entries under theirs."""
    return [_row(option, tables) for option in walk_options(cls, tables)]


def _row(option: OptionField, tables: Tables) -> OptionRow:
    words = type_words(option.hint, tables)
    if groups_of(option.field) is not None:
        return OptionRow(option.dotted, words, "", inspect.cleandoc(option.hint.__doc__ or ""), option.choice)
    sentence = find_sentence(option.owner, option.field.name)
    return OptionRow(option.dotted, words, _default(option), sentence, option.choice)


def _default(option: OptionField) -> str:
    if is_dataclass(option.hint):
        return ""
    if option.field.default is not MISSING:
        return dump_value(plain_value(option.field.default))
    if option.field.default_factory is not MISSING:
        return dump_value(plain_value(option.field.default_factory()))
    return "required"


def find_sentence(cls: type[Any], name: str) -> str:
    """The docstring under a field, on one line; empty where there is none."""
    for owner in cls.__mro__:
        if name in vars(owner).get("__annotations__", {}):
            return _sentences(owner).get(name, "")
    return ""


@cache
def _sentences(cls: type[Any]) -> dict[str, str]:
    """Field -> text of the string that follows its declaration."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    if not isinstance(body, ast.ClassDef):
        return {}
    found = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[statement.target.id] = " ".join(str(after.value.value).split())
    return found
