"""One row of numbers per training caption, written step by step and read an epoch later.

Every process holds the whole table: a step gathers the few rows it writes, so nothing is merged at an
epoch's end, the main process can save at any step, and a row does not depend on who wrote it. The table is
no module buffer, since DDP would send it around at every step.
"""

import tempfile
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tpr import distributed
from tpr.errors import CheckpointError

Storage = Literal["float32", "float16", "uint8"]
TYPES = {"float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8}
UNSET_CODE = 255
CODES = 127.0
"""uint8 holds [-1, 1] in steps of 1 / 127 as 0..254; 255 marks a row that was never written."""
LARGEST_ON_DEVICE = 4 * 2**30
"""Bytes from which a table lies in a mapped file instead of the device's memory."""


class SampleTable:
    """(rows, columns) numbers; a row that was never written reads as NaN."""

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        storage: Storage = "float16",
        map_above: int = LARGEST_ON_DEVICE,
    ) -> None:
        """storage: how a number is kept; uint8 is for numbers in [-1, 1]. map_above: bytes, see above."""
        self.shape = (rows, columns)
        self.type = TYPES[storage]
        self.is_mapped = rows * columns * self.type.itemsize > map_above
        self._values: Tensor | None = None

    def read(self, index: Tensor) -> Tensor:
        """(N, columns) float32 rows `index` (N,), on the index's device."""
        values = self._place(index.device)
        rows = values[index.to(values.device)].to(index.device)
        if self.type != torch.uint8:
            return rows.float()
        return torch.where(rows == UNSET_CODE, torch.nan, rows.float() / CODES - 1)

    def write(self, index: Tensor, rows: Tensor, *, samples: int, repeats: int = 1) -> None:
        """Sets rows `index` (N,) of this process to (N, columns) numbers, and those of all other processes.

        samples, repeats: as in `distributed.gather`. Of equal indices in one step one is kept.
        """
        values = self._place(index.device)
        index = distributed.gather(index, samples, repeats)
        coded = distributed.gather(self._encode(rows.detach()), samples, repeats)
        values[index.to(values.device)] = coded.to(values.device)

    def fill(self, rows: Tensor) -> None:
        """Sets the whole table to (rows, columns) numbers that every process has."""
        self._place(rows.device).copy_(self._encode(rows.detach()))

    def save(self) -> Tensor | None:
        """The table on the CPU as it is stored; None where nothing was written yet."""
        return None if self._values is None else self._values.cpu()

    def load(self, stored: Tensor | None, device: torch.device) -> None:
        """Takes what `save` gave. Raises CheckpointError for a table of another shape or storage."""
        if stored is None:
            self._values = None
            return
        if (tuple(stored.shape), stored.dtype) != (self.shape, self.type):
            raise CheckpointError(
                f"a table of the checkpoint is {tuple(stored.shape)} {stored.dtype}, this run's is "
                f"{self.shape} {self.type}: it was trained on other data or with another storage; start "
                "without resuming (runtime.resume=never)"
            )
        self._place(device).copy_(stored)

    def _encode(self, rows: Tensor) -> Tensor:
        if self.type != torch.uint8:
            return rows.to(self.type)
        codes = ((rows.float() + 1) * CODES).round().clamp(0, UNSET_CODE - 1)
        return torch.where(rows.isnan(), float(UNSET_CODE), codes).to(torch.uint8)

    def _place(self, device: torch.device) -> Tensor:
        """The table, made on first use: on the device, or in a file that goes with the process."""
        if self._values is None:
            if self.is_mapped:
                with tempfile.TemporaryFile() as file:
                    mapped = np.memmap(file, str(self.type)[len("torch.") :], mode="w+", shape=self.shape)
                self._values = torch.from_numpy(mapped)
            else:
                self._values = torch.empty(self.shape, dtype=self.type, device=device)
            self._values.fill_(UNSET_CODE if self.type == torch.uint8 else torch.nan)
        return self._values
