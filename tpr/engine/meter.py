"""Running means of losses and metrics that stay on the device until somebody reads them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tpr import distributed
from tpr.systems.base import StepOutput


class Meter:
    """Sums over the steps since the last reading; reading is the only host synchronisation."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, output: StepOutput, total: Tensor) -> None:
        """Add one step's values: shares of this rank, detached."""
        self._accumulate({"loss": total, **output.losses, **output.metrics})
        self.steps += 1

    def _accumulate(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            wide = value.detach().double()
            self.sums[name] = self.sums[name] + wide if name in self.sums else wide

    def read(self) -> dict[str, float]:
        """Means over steps, summed over ranks; starts anew."""
        if not self.steps:
            return {}
        names = list(self.sums)
        values = distributed.sum_over_ranks(torch.stack([self.sums[name] for name in names])) / self.steps
        self.sums, self.steps = {}, 0
        return dict(zip(names, values.tolist(), strict=True))
