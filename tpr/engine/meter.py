"""Running means of losses and metrics that stay on the device until somebody reads them."""

from typing import Any

import torch
from torch import Tensor

from tpr import distributed
from tpr.systems.base import StepOutput


class Meter:
    """Sums over ranks and over the steps since the last reading; reading alone makes the host wait.

    Sums are over all ranks at any time, so that the main rank can save them without asking the others.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, output: StepOutput, total: Tensor) -> Tensor:
        """Add one step's values, shares of this rank; returns the loss of all ranks, a scalar float64."""
        values = {"loss": total, **output.losses, **output.metrics}
        stacked = torch.stack([value.detach().double() for value in values.values()])
        summed = dict(zip(values, distributed.sum_over_ranks(stacked).unbind(), strict=True))
        for name, value in summed.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1
        return summed["loss"]

    def read(self) -> dict[str, float]:
        """Means over steps; starts anew."""
        if not self.steps:
            return {}
        names = list(self.sums)
        values = torch.stack([self.sums[name] for name in names]) / self.steps
        self.sums, self.steps = {}, 0
        return dict(zip(names, values.tolist(), strict=True))

    def save(self) -> dict[str, Any]:
        """What was added since the last reading, for a checkpoint."""
        return {"steps": self.steps, "sums": {name: value.cpu() for name, value in self.sums.items()}}

    def load(self, stored: dict[str, Any], device: torch.device) -> None:
        """Go on from what `save` gave."""
        self.steps = stored["steps"]
        self.sums = {name: value.to(device) for name, value in stored["sums"].items()}
