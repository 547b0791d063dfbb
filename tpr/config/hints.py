"""What the declared types of options mean: named choices, unions, nested groups, and their words."""

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tpr.config.groups import groups_of
from tpr.config.scalars import split_hint
from tpr.config.schema import Named

Tables = Mapping[str, Mapping[str, type[Any]]]
"""Kind (`system`, `model`, `adapter`) -> name -> dataclass of its options."""

WORDS: dict[Any, str] = {bool: "true or false", str: "text", Any: "any value"}


@dataclass(frozen=True)
class OptionField:
    """One option in the whole schema."""

    dotted: str
    """`optim.lr`; options of list entries are `data.train[].name`."""
    owner: type[Any]
    """Dataclass that declares it."""
    field: "Field[Any]"
    hint: Any
    choice: str
    """`system=rde` for an option that only that table entry has, else empty."""


def type_hints(cls: type[Any]) -> dict[str, Any]:
    """Declared type of each field of a dataclass."""
    return get_type_hints(cls, include_extras=True)


def named_kind(hint: Any) -> str | None:
    """Table of a field that is chosen by name: `Annotated[Choice, Named(kind)]`."""
    if get_origin(hint) is not Annotated:
        return None
    marks = [mark for mark in get_args(hint)[1:] if isinstance(mark, Named)]
    return marks[0].kind if marks else None


def is_union(hint: Any) -> bool:
    """True for `X | Y` in either spelling."""
    return get_origin(hint) in (Union, UnionType)


def union_members(hint: Any) -> list[Any]:
    """Members of a union without None; the hint alone where it is none."""
    return [member for member in get_args(hint) if member is not NoneType] if is_union(hint) else [hint]


def type_words(hint: Any, tables: Tables) -> str:
    """A declared type as a reader of `tpr options` or of a message wants it."""
    kind = named_kind(hint)
    if kind is not None:
        return " | ".join(sorted(tables.get(kind, {}))) or kind
    if is_union(hint):
        words = [type_words(member, tables) for member in union_members(hint)]
        return " | ".join(words + ["null"] * (NoneType in get_args(hint)))
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, limit = split_hint(hint)
        return " ".join([type_words(kind, tables), *([str(limit)] if limit else [])])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin is tuple:
        words = [type_words(part, tables) for part in inner if part is not Ellipsis]
        return f"list of {words[0]}" if Ellipsis in inner else f"[{', '.join(words)}]"
    if origin is dict:
        return f"name: {type_words(inner[1], tables)}"
    if is_dataclass(hint):
        return "options"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)).lower())


def walk_options(
    cls: type[Any], tables: Tables, where: str = "", choice: str = "", seen: set[str] | None = None
) -> Iterator[OptionField]:
    """Every option below a dataclass, groups and table entries included; each table is entered once."""
    seen = set() if seen is None else seen
    hints = type_hints(cls)
    for field in fields(cls):
        hint = hints[field.name]
        prefix = f"{where}." if where else ""
        if (table := groups_of(field)) is not None:
            for name, options in tables.get(table, {}).items():
                yield OptionField(f"{prefix}{name}", cls, field, options, choice)
                yield from walk_options(options, tables, f"{prefix}{name}", choice, seen)
            continue
        dotted = f"{prefix}{field.name}"
        yield OptionField(dotted, cls, field, hint, choice)
        for spot, inner in _parts(hint, dotted):
            kind = named_kind(inner)
            if is_dataclass(inner):
                yield from walk_options(inner, tables, spot, choice, seen)  # type: ignore[arg-type]
            elif kind is not None and kind not in seen:
                seen.add(kind)
                for name, options in sorted(tables.get(kind, {}).items()):
                    yield from walk_options(options, tables, spot, f"{kind}={name}", seen)


def _parts(hint: Any, dotted: str) -> Iterator[tuple[str, Any]]:
    """The hint's members that may hold options, each with its place."""
    for member in union_members(hint):
        if get_origin(member) is tuple and named_kind(member) is None:
            yield f"{dotted}[]", get_args(member)[0]
        else:
            yield dotted, member
