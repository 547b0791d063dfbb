"""Retrieval systems: one small file each on shared parts, and the tables that configs choose from."""

from typing import Any

from tpr.data.adapters import ADAPTERS
from tpr.models.clip import ClipOptions
from tpr.models.two_stream import TwoStreamOptions
from tpr.systems.base import System
from tpr.systems.irra import Irra
from tpr.systems.mllm4text import Mllm4Text
from tpr.systems.rde import Rde
from tpr.systems.tvi_lfm import TviLfm

# An official checkpoint is of the first system that knows it; IRRA's layout, which others contain, is last.
SYSTEMS: dict[str, type[System]] = {
    "tvi_lfm": TviLfm,
    "rde": Rde,
    "mllm4text": Mllm4Text,
    "irra": Irra,
}
MODELS: dict[str, type[Any]] = {"clip": ClipOptions, "two_stream": TwoStreamOptions}
TABLES: dict[str, dict[str, type[Any]]] = {
    "system": {name: system.Options for name, system in SYSTEMS.items()},
    "model": MODELS,
    "adapter": {name: adapter.Options for name, adapter in ADAPTERS.items()},
}

# After the tables, which these functions look names up in.
from tpr.systems.loading import build_system, load_system, load_weights, read_experiment_of  # noqa: E402

__all__ = [
    "MODELS",
    "SYSTEMS",
    "TABLES",
    "System",
    "build_system",
    "load_system",
    "load_weights",
    "read_experiment_of",
]
