"""Which numbers an option accepts: marks on declared types that `typed.py` reads and `tpr options` prints."""

from dataclasses import dataclass
from typing import Annotated, Literal

SMALLEST_POWER = 20
"""Powers of two from this one on are written as such: 2^63."""


@dataclass(frozen=True)
class Range:
    """Marks the numbers an option accepts: `Annotated[int, Range(1, 64)]`."""

    low: float | None = None
    """Smallest number; absent: that of `LIMITS`."""
    high: float | None = None
    """Largest number; absent: that of `LIMITS`."""
    without: Literal["", "low", "high", "both"] = ""
    """Ends that do not belong to the range themselves."""

    def holds(self, number: float) -> bool:
        """True for a number of the range; NaN is in none."""
        above = self.low is None or number > self.low or (number == self.low and self._has("low"))
        below = self.high is None or number < self.high or (number == self.high and self._has("high"))
        return above and below

    def __str__(self) -> str:
        """`>= 1`, `> 0` or `in [0, 1)`."""
        if self.low is not None and self.high is not None:
            first, last = "[" if self._has("low") else "(", "]" if self._has("high") else ")"
            return f"in {first}{_show(self.low)}, {_show(self.high)}{last}"
        sign, end = (">", "low") if self.high is None else ("<", "high")
        return f"{sign}{'=' * self._has(end)} {_show(getattr(self, end))}"

    def _has(self, end: str) -> bool:
        return self.without not in (end, "both")


def _show(number: float) -> str:
    if not isinstance(number, int):
        return f"{number:g}"
    power = abs(number).bit_length() - 1
    is_power = power >= SMALLEST_POWER and abs(number) == 1 << power
    return f"{'-' * (number < 0)}2^{power}" if is_power else str(number)


LIMITS = {int: Range(-(2**31), 2**31, "both"), float: Range(-1e30, 1e30)}
"""What no option passes unless its own range ends elsewhere: sizes and single precision hold no more."""

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**63, "high")]
ShortSeed = Annotated[int, Range(0, 2**32, "high")]
"""Seed of a generator that takes four bytes."""
Bytes = Annotated[int, Range(0, 2**62)]
Share = Annotated[float, Range(0, 1)]
PartialShare = Annotated[float, Range(0, 1, "high")]
"""A share that leaves something over."""
PositiveShare = Annotated[float, Range(0, 1, "low")]
"""A share that is not nothing."""
InnerShare = Annotated[float, Range(0, 1, "both")]
"""A share that is neither nothing nor all."""
Positive = Annotated[float, Range(0, without="low")]
NotNegative = Annotated[float, Range(0)]
