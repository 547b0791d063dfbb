"""Host arrays to tensors on the device of a run."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tpr.data.samples.batch import Batch
from tpr.data.samples.views import Arrays


class Sender:
    """Host arrays -> tensors on the device; on a GPU by a stream of its own, while a step runs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self, entries: Arrays) -> Batch:
        """The entries as a batch, ready for the current stream."""
        tensors = {name: as_tensor(value) for name, value in entries.items()}
        if self._stream is None:
            return cast(Batch, {name: self._move(value) for name, value in tensors.items()})
        with torch.cuda.stream(self._stream):
            sent = {name: self._move(value) for name, value in tensors.items()}
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._stream)
        for value in sent.values():
            if isinstance(value, Tensor):
                value.record_stream(current)  # its memory belongs to the copying stream
        return cast(Batch, sent)

    def _move(self, value: Tensor | int) -> Tensor | int:
        return value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value


def as_tensor(value: Any) -> Tensor | int:
    """An array as a tensor over the same memory; other values as they are."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
