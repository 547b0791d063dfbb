"""What the trainer asks of an evaluator and tells a journal; it knows neither."""

from typing import Protocol

from tpr.systems.base import System


class Scorer(Protocol):
    """What the trainer asks of an evaluator: a score of the system now, higher is better."""

    def __call__(self, system: System, epoch: int, step: int) -> float:
        """Measure; every rank calls it and gets the same."""
        ...


class Recorder(Protocol):
    """What the trainer tells a journal."""

    def advance(self, pairs: int) -> None:
        """So many more training samples are done."""
        ...

    def record_step(
        self, epoch: int, step: int, means: dict[str, float], lr: float, pairs_per_second: float
    ) -> None:
        """Means over the steps since the last such call."""
        ...

    def rewind(self, step: int) -> None:
        """The run continues after `step`; 0: it is new."""
        ...
