"""Watches for non-finite steps without making the device wait.

The update itself is skipped on the device (see `Trainer.update`); here the flags of past steps are read
once they have arrived on the host, so a bad run is stopped a few steps late on a GPU, at once on a CPU.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tpr import distributed
from tpr.errors import TrainingError
from tpr.systems.base import StepOutput


@dataclass(frozen=True)
class _Flag:
    step: int
    bad: Tensor
    losses: dict[str, Tensor]
    samples: Tensor
    arrived: torch.cuda.Event | None


class BadStepGuard:
    """Stops a run after `limit` steps in a row whose loss or gradient is not finite."""

    def __init__(self, limit: int, give_up: Callable[[], str]) -> None:
        """give_up: leaves the run as it can go on, and says how, for the message."""
        self.limit = limit
        self.give_up = give_up
        self.in_a_row = 0
        self.good_step = 0
        """The newest step that is known to have been good."""
        self.waiting: deque[_Flag] = deque()

    def watch(self, step: int, bad: Tensor, output: StepOutput, samples: Tensor) -> None:
        """Note one step: `bad` is a device scalar, 1 where the step was skipped."""
        event = None
        if bad.device.type == "cuda":
            bad = bad.to("cpu", non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        losses = {name: value.detach() for name, value in output.losses.items()}
        self.waiting.append(_Flag(step, bad, losses, samples, event))
        while self.waiting and _has_arrived(self.waiting[0]):
            self._judge(self.waiting.popleft())

    def settle(self) -> None:
        """Judge every step up to now; the host waits for the device."""
        while self.waiting:
            flag = self.waiting.popleft()
            if flag.arrived is not None:
                flag.arrived.synchronize()
            self._judge(flag)

    def _judge(self, flag: _Flag) -> None:
        if not bool(flag.bad):
            self.in_a_row, self.good_step = 0, flag.step
            return
        self.in_a_row += 1
        if self.in_a_row < self.limit:
            return
        losses = ", ".join(f"{name}={float(value):.4g}" for name, value in flag.losses.items())
        samples = flag.samples.tolist()
        shown = ", ".join(map(str, samples[:16])) + (", ..." if len(samples) > 16 else "")
        raise TrainingError(
            f"step {flag.step}: losses or gradients were not finite for {self.limit} steps in a row "
            f"(rank {distributed.rank()}: {losses}; samples {shown}); {self.give_up()}; "
            "lower optim.lr, set optim.clip, or look at these samples"
        )


def _has_arrived(flag: _Flag) -> bool:
    return flag.arrived is None or bool(flag.arrived.query())  # type: ignore[no-untyped-call]
