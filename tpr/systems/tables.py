"""The tables that configs choose from, by name and in any order."""

from typing import Any

from tpr.data.adapters import ADAPTERS
from tpr.data.images.operations import OPERATIONS
from tpr.evaluation.protocols import PROTOCOLS
from tpr.models.clip import ClipOptions
from tpr.models.two_stream import TwoStreamOptions
from tpr.systems.base import System
from tpr.systems.irra import Irra
from tpr.systems.mllm4text import Mllm4Text
from tpr.systems.rde import Rde
from tpr.systems.tvi_lfm import TviLfm

SYSTEMS: dict[str, type[System]] = {
    "tvi_lfm": TviLfm,
    "rde": Rde,
    "mllm4text": Mllm4Text,
    "irra": Irra,
}
UNMARKED = "irra"
"""The system of official files without any system's mark: bare CLIP, and IRRA's layout, which is common."""
MODELS: dict[str, type[Any]] = {"clip": ClipOptions, "two_stream": TwoStreamOptions}
TABLES: dict[str, dict[str, type[Any]]] = {
    "system": {name: system.Options for name, system in SYSTEMS.items()},
    "model": MODELS,
    "protocol": {name: protocol.Options for name, protocol in PROTOCOLS.items()},
    "adapter": {name: adapter.Options for name, adapter in ADAPTERS.items()},
    "operation": {name: operation.Options for name, operation in OPERATIONS.items()},
}
