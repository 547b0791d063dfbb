"""What an image operation is: a change of one training image, named in `data.augment.operations`."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

Draws = npt.NDArray[np.float32]


class Operation(ABC):
    """Changes an image in a loader worker, after mirror and crop; the device normalises and erases."""

    Options: ClassVar[type[Any]]
    """Frozen dataclass of its settings."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @property
    @abstractmethod
    def draws(self) -> int:
        """Uniform numbers that an image needs."""

    @abstractmethod
    def apply(self, image: Tensor, drawn: Draws) -> Tensor:
        """(3, H, W) uint8 of a (3, H, W) uint8 image; drawn: (draws,) in [0, 1), a function of the sample."""
