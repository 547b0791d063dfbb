"""Fields that hold the options of every entry of a table, each as a group of the entry's name."""

from dataclasses import Field, field
from typing import Any

MARK = "groups"


def table_groups(kind: str) -> Any:
    """Declare such a field. kind: the table, as `TABLES` names it."""
    return field(default_factory=dict, metadata={MARK: kind})


def groups_of(option: "Field[Any]") -> str | None:
    """Kind of the table whose entries' options a field holds; None for any other field."""
    kind: str | None = option.metadata.get(MARK)
    return kind
