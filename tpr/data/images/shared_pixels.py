"""Pixels from a loader worker to the main process: written once by the one, mapped by the other.

The memory is anonymous (memfd), so a container's small /dev/shm does not limit it; where the system has no
such memory, it is an unnamed file in the folder for temporary files. Only its number travels through a queue.
"""

import mmap
import os
import tempfile
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any, BinaryIO

import torch
from torch import Tensor


@dataclass(frozen=True)
class SharedPixels:
    """A tensor of bytes on its way."""

    handle: Any
    """The open memory, which a process fetches once by `detach()`; None for a tensor without bytes."""
    nbytes: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def open(self) -> Tensor:
        """The tensor over memory that this process maps from now on; to be called once.

        Raises OSError or EOFError where the worker that wrote it is gone.
        """
        if self.handle is None:
            return torch.empty_strided(self.size, self.stride, dtype=torch.uint8)
        number = self.handle.detach()
        try:
            memory = mmap.mmap(number, self.nbytes)
        finally:
            os.close(number)
        return torch.frombuffer(memory, dtype=torch.uint8).as_strided(self.size, self.stride)


def share_pixels(pixels: Tensor) -> SharedPixels:
    """A uint8 tensor, copied into memory for another process. Raises OSError where there is no room."""
    size, stride = tuple(pixels.size()), tuple(pixels.stride())
    nbytes = pixels.untyped_storage().nbytes()
    if not nbytes:
        return SharedPixels(None, 0, size, stride)
    with open_memory() as file:
        file.write(pixels.as_strided((nbytes,), (1,), 0).numpy().data)
        file.flush()
        return SharedPixels(DupFd(file.fileno()), nbytes, size, stride)


def open_memory() -> BinaryIO:
    """A new nameless file, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("tpr-pixels"), "w+b")
    return tempfile.TemporaryFile("w+b")
