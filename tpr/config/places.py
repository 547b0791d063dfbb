"""What a stored configuration may not decide: where this machine reads and writes."""

from collections.abc import Collection
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from tpr.config.hints import type_hints
from tpr.config.schema import Choice

T = TypeVar("T")


def forget_places(options: T, kept: Collection[str] = (), where: str = "") -> T:
    """The same options with every path at its default, in groups of options as well.

    kept: dotted names that stay. Options of a named choice are not entered: a dataset's own paths lie below
    the data folder and are only read.
    """
    changed: dict[str, Any] = {}
    hints = type_hints(type(options))
    for field in fields(options):  # type: ignore[arg-type]
        dotted = f"{where}.{field.name}" if where else field.name
        value, hint = getattr(options, field.name), hints[field.name]
        if dotted in kept or isinstance(value, Choice):
            continue
        if hint is Path or Path in get_args(hint):
            changed[field.name] = _default(field)
        elif is_dataclass(value):
            changed[field.name] = forget_places(value, kept, dotted)
    return replace(options, **changed)  # type: ignore[type-var]


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
