"""Plain values by declared type: what YAML or a command line wrote -> bool, int, float, str, Path, in range.

Numbers may come as text (YAML reads `1e-4` as text); booleans never pass as numbers and numbers never as
text, so that a value in the wrong place is noticed.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from tpr.config.messages import show_value
from tpr.config.paths import type_path
from tpr.config.ranges import LIMITS, Range

BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


def convert_scalar(value: Any, hint: Any) -> Any:
    """The value as its declared type, `float` or `Annotated[float, Range(0, 1)]`.

    Raises ValueError with `expected ..., got ...`, TypeError for types that options cannot have.
    """
    kind, own = split_hint(hint)
    if kind not in CONVERTERS:
        raise TypeError(f"options cannot be declared as {kind}")
    converted = CONVERTERS[kind](value)
    general = LIMITS.get(kind) if own is None or own.high is None else None
    for limit in (own, general):
        if limit is not None and not limit.holds(converted):
            raise ValueError(f"expected {kind.__name__} {limit}, got {show_value(value)}")
    return converted


def split_hint(hint: Any) -> tuple[Any, Range | None]:
    """The type of one value, and its range where it is marked with one."""
    if get_origin(hint) is not Annotated:
        return hint, None
    kind, *marks = get_args(hint)
    return kind, next((mark for mark in marks if isinstance(mark, Range)), None)


def _to_bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in BOOLEANS:
        return BOOLEANS[value.lower()]
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {show_value(value)}")
    return value


def _to_int(value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected int, got {show_value(value)}")
    return value


def _to_float(value: Any) -> float:
    is_number = isinstance(value, (int, float, str)) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"expected float, got {show_value(value)}")
    return number


def _to_text(value: Any) -> str:
    if not isinstance(value, str):
        hint = "; write it in quotes" if isinstance(value, (bool, int, float)) else ""
        raise ValueError(f"expected text, got {show_value(value)}{hint}")
    return value


def _to_path(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected a path, got {show_value(value)}")
    return type_path(value)


CONVERTERS: dict[type[Any], Callable[[Any], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_text,
    Path: _to_path,
}
