"""tpr: text-based person retrieval, from machine-captioned pre-training to published benchmarks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tpr.systems.loading import load_system

__version__ = "0.1.0"
__all__ = ["__version__", "load_system"]


def __getattr__(name: str) -> Any:
    """`load_system` on first use: importing the package alone must not import torch."""
    if name != "load_system":
        raise AttributeError(f"module 'tpr' has no attribute {name!r}")
    from tpr.systems.loading import load_system

    return load_system
