"""From annotation files and images to batches on the device.

An adapter parses a published layout into a `Corpus`; views, samplers and the loader turn it into the
tensors of `Batch`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tpr.data.text.tokens import tokenize

__all__ = ["tokenize"]


def __getattr__(name: str) -> Any:
    """`tokenize` on first use: importing an adapter alone must not import torch."""
    if name != "tokenize":
        raise AttributeError(f"module 'tpr.data' has no attribute {name!r}")
    from tpr.data.text.tokens import tokenize

    return tokenize
