"""Words of a command line by the types and ranges that options of a config have."""

import argparse
from collections.abc import Callable
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
