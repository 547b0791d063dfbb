"""A dataset that a command line names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpr.config.schema import Choice, DataOptions
from tpr.config.typed import build_options
from tpr.data.adapters import ADAPTERS
from tpr.errors import ConfigError


def choose_dataset(name: str, options: Mapping[str, Any], where: str = "SET") -> Choice:
    """A dataset of the table with its options. Raises ConfigError, which begins with `where`."""
    if name not in ADAPTERS:
        raise ConfigError(f"{where}: '{name}' is not known; known: {', '.join(ADAPTERS)}")
    return Choice(name, build_options(ADAPTERS[name].Options, options, {}, name))


def read_root(root: Path | None) -> DataOptions:
    """The options of data below `--root`, or below the default root."""
    return DataOptions(root=root) if root else DataOptions()
