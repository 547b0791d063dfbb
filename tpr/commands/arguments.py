"""Words of a command line by the types and ranges that options of a config have."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpr.config.scalars import convert_scalar
from tpr.errors import ConfigError


def typed(hint: Any) -> Callable[[str], Any]:
    """`type=` of an argparse argument: `typed(Path)` replaces `~`, `typed(Count)` keeps its range."""

    def convert(word: str) -> Any:
        try:
            return convert_scalar(word, hint)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def type_word(word: str, hint: Any) -> Any:
    """One word as its type. Raises ConfigError."""
    try:
        return convert_scalar(word, hint)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def find_target(namespace: argparse.Namespace) -> Path | None:
    """The folder that a command writes into: OUT, else a new plan's, else the first of its plans."""
    plans: list[Path] = getattr(namespace, "plans", [])
    target: Path | None = getattr(namespace, "out", None) or getattr(namespace, "folder", None)
    return target or next(iter(plans), None)
