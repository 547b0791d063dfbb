"""Plain values by declared type: what YAML or a command line wrote -> bool, int, float, str, Path.

Numbers may come as text (YAML reads `1e-4` as text); booleans never pass as numbers and numbers never as
text, so that a value in the wrong place is noticed.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpr.config.messages import show_value

BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


def convert_scalar(value: Any, kind: type[Any]) -> Any:
    """The value as `kind`; raises ValueError with `expected ..., got ...`, TypeError for unknown kinds."""
    if kind not in CONVERTERS:
        raise TypeError(f"options cannot be declared as {kind}")
    return CONVERTERS[kind](value)


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
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
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
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected a path, got {show_value(value)}")
    return Path(value).expanduser() if value == "~" or value.startswith("~/") else Path(value)


CONVERTERS: dict[type[Any], Callable[[Any], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_text,
    Path: _to_path,
}
