"""From annotation files and pictures to batches on the device.

An adapter parses a published layout into a `Corpus`; views, samplers and the loader turn it into the
tensors of `Batch`.
"""

from tpr.data.tokens import tokenize

__all__ = ["tokenize"]
