"""Options of what happens to training images."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tpr.config.choices import OperationChoice
from tpr.config.ranges import Positive, PositiveShare, Range, Share
from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Augmentation of training images; the defaults are IRRA's published chain."""

    flip: Share = 0.5
    """Share of images mirrored left to right."""
    pad: Annotated[int, Range(0, 4096)] = 10
    """Black pixels added on each side before the random crop back to the input size."""
    operations: tuple[OperationChoice, ...] = ()
    """Further operations on the mirrored and cropped image, by name, in this order."""
    erase: Share = 0.5
    """Share of images with one rectangle erased."""
    erase_area: tuple[PositiveShare, PositiveShare] = (0.02, 0.4)
    """Smallest and largest erased share of the area."""
    erase_ratio: tuple[Positive, Positive] = (0.3, 3.3)
    """Smallest and largest height to width ratio of the rectangle."""
    erase_law: Literal["logarithm", "uniform"] = "logarithm"
    """The ratio is uniform in its logarithm, as in torchvision, or uniform itself, as in TVI-LFM."""
    erase_fill: Literal["published", "mean"] = "published"
    """Value of erased, normalised pixels: published is a mean vector of values in [0, 1], mean is zero."""
    grey: Share = 0.0
    """Share of images that lose their colour; of two views of a visible image the first."""
    exchange: Share = 0.0
    """Share of second views of visible images in which one channel, drawn at random, replaces all three."""
    infrared_erase: Share = 0.5
    """Share of infrared images with one rectangle erased."""
    infrared_grey: Share | None = None
    """In 3 of 4 infrared images one channel replaces all, of the rest this share is grey; absent: none."""

    def __post_init__(self) -> None:
        for name in ("erase_area", "erase_ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(f"{name} must rise, got {[low, high]}")
