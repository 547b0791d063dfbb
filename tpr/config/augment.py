"""Options of what happens to training pictures."""

import math
from dataclasses import dataclass
from typing import Literal

from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Augmentation of training pictures; the defaults are IRRA's published chain."""

    flip: float = 0.5
    """Share of pictures mirrored left to right."""
    pad: int = 10
    """Black pixels added on each side before the random crop back to the input size."""
    erase: float = 0.5
    """Share of pictures with one rectangle erased."""
    erase_area: tuple[float, float] = (0.02, 0.4)
    """Smallest and largest erased share of the area."""
    erase_ratio: tuple[float, float] = (0.3, 3.3)
    """Smallest and largest height to width ratio of the rectangle."""
    erase_law: Literal["logarithm", "uniform"] = "logarithm"
    """The ratio is uniform in its logarithm, as in torchvision, or uniform itself, as in TVI-LFM."""
    erase_fill: Literal["published", "mean"] = "published"
    """Value of erased, normalised pixels: published is a mean vector of values in [0, 1], mean is zero."""
    grey: float = 0.0
    """Share of pictures that lose their colour; of two views of a visible picture the first."""
    exchange: float = 0.0
    """Share of second views of visible pictures in which one channel, drawn at random, replaces all three."""
    infrared_erase: float = 0.5
    """Share of infrared pictures with one rectangle erased."""
    infrared_grey: float | None = None
    """In 3 of 4 infrared pictures one channel replaces all, of the rest this share is grey; absent: none."""

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "grey", "exchange", "infrared_erase", "infrared_grey"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {value}")
        if self.pad < 0:
            raise ConfigError(f"pad must not be negative, got {self.pad}")
        for name, most in (("erase_area", 1.0), ("erase_ratio", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise ConfigError(f"{name} must rise from above 0 to at most {most:g}, got {[low, high]}")
