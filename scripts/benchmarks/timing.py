"""Paired timing: A and B take turns, so that a busy neighbour or a warm chip hits both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds of the rounds of one pair, in order."""

    seconds_a: tuple[float, ...]
    seconds_b: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times as fast B was, round by round."""
        return tuple(a / b for a, b in zip(self.seconds_a, self.seconds_b, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the per-round ratios: the result of a benchmark."""
        return statistics.median(self.ratios)


def measure(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleave(
    side_a: Callable[[], Any],
    side_b: Callable[[], Any],
    *,
    rounds: int,
    repeats_b: int = 1,
    warm: bool = True,
) -> Timing:
    """Times both sides in turn, who begins alternates; a very short B is repeated within a round."""
    if warm:
        side_a()
        side_b()
    seconds_a: list[float] = []
    seconds_b: list[float] = []
    for turn in range(rounds):
        if turn % 2:
            seconds_a.append(measure(side_a))
        seconds_b.append(measure(lambda: [side_b() for _ in range(repeats_b)]) / repeats_b)
        if not turn % 2:
            seconds_a.append(measure(side_a))
    return Timing(tuple(seconds_a), tuple(seconds_b))
