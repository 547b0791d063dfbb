"""What a system knows of the files that its authors published."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from tpr.config.schema import Choice, DataOptions
from tpr.models.weights import Checkpoint


class Official:
    """A system without published files: no file is of it, and names stay as they are."""

    mark: ClassVar[str | None] = None
    """Weight, by our name, that only files of this system hold; absent: none tells them."""
    classifier: ClassVar[str] = "classifier.weight"
    """Weight, by our name, with a row per training identity."""
    names: ClassVar[Mapping[str, str]] = {}
    """Patterns in official names -> what stands there in ours, replaced in this order."""

    def recognise(self, stored: Mapping[str, Tensor]) -> bool:
        """True for a file of this system, by its own mark."""
        return self.mark is not None and self.mark in self.rename(stored)

    def rename(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Official names -> ours; names that are ours stay."""
        state = dict(stored)
        for official, ours in self.names.items():
            state = {re.sub(official, ours, name): value for name, value in state.items()}
        return state

    def options(self, state: Mapping[str, Tensor]) -> Any:
        """The system's options behind weights in our names."""
        raise NotImplementedError

    def model(self, state: Mapping[str, Tensor]) -> tuple[Choice, DataOptions]:
        """Towers and input behind weights in our names. Raises CheckpointError."""
        raise NotImplementedError

    def identities(self, state: Mapping[str, Tensor]) -> int | None:
        """Training identities behind weights in our names, where they hold a classifier."""
        weight = state.get(self.classifier)
        return None if weight is None or weight.dim() == 0 else len(weight)

    def find_doubt(self, checkpoint: Checkpoint) -> str | None:
        """What a file does not tell and had to be taken for granted, in a sentence."""
        return None
