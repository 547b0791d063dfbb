"""Which options may differ between two starts of one run: the mark, and comparisons without them.

An option counts unless it is marked where it is declared. Marked are options that decide where, how fast and
how long something is computed and what is written about it; results do not depend on them beyond rounding.
"""

from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, TypeVar

from tpr.config.messages import show_value

Value = TypeVar("Value")
MARK = "changeable"


def changeable(default: Value) -> Value:
    """Declare an option, with its default, that does not make another run."""
    return field(default=default, metadata={MARK: True})


def is_changeable(option: "Field[Any]") -> bool:
    """Whether an option of an options dataclass is marked."""
    return bool(option.metadata.get(MARK))


def drop_changeable(tree: Mapping[str, Any], options: Any) -> dict[str, Any]:
    """The entries of a plain tree that make a run what it is.

    tree: as `to_tree` gives it or a config file holds it. options: the dataclass that declares it.
    """
    declared = {option.name: option for option in fields(options)}
    kept = {}
    for name, value in tree.items():
        option = declared.get(name)
        if option is not None and is_changeable(option):
            continue
        # Groups are those that a default can be made of; what a choice by name holds counts as a whole.
        if option is not None and is_dataclass(option.default_factory) and isinstance(value, Mapping):
            if inner := drop_changeable(value, option.default_factory):
                kept[name] = inner
        else:
            kept[name] = value
    return kept


def find_differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Every entry in which two plain trees differ: `optim.lr is 0.1 and not 0.2`."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        words = f"{where} is {show_value(one)} and not {show_value(other)}"
        return [] if plain_list(one) == plain_list(other) else [words]
    names = [*one, *(name for name in other if name not in one)]
    return [
        difference
        for name in names
        for difference in find_differences(
            one.get(name), other.get(name), f"{where}.{name}" if where else str(name)
        )
    ]


def plain_list(value: Any) -> Any:
    """Tuples as lists, which a file may have made of them."""
    return [plain_list(entry) for entry in value] if isinstance(value, (list, tuple)) else value
