"""RandAugment as APTM uses it: a few of ten changes, drawn anew for each image, all of one strength.

Source: Cubuk et al., RandAugment, CVPR Workshops 2020; APTM, ACM MM 2023, official `dataset/randaugment.py`.
Differs: torchvision's arithmetic in place of OpenCV's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from torchvision.transforms.v2 import functional

from tpr.config.ranges import Range, Share
from tpr.data.images.operation import Draws, Operation

GREY = 128.0
"""Stands where an image was moved away."""


def warp(
    image: Tensor,
    *,
    angle: float = 0.0,
    right: float = 0.0,
    down: float = 0.0,
    x: float = 0.0,
    y: float = 0.0,
) -> Tensor:
    """Rotated by degrees, moved by pixels, sheared by pixels per pixel."""
    # Outside lie zeros: about grey they blend with the image's rim as a border does in OpenCV.
    warped: Tensor = functional.affine(
        image.float() - GREY,
        angle=angle,
        translate=[right, down],
        scale=1.0,
        shear=[math.degrees(math.atan(x)), math.degrees(math.atan(y))],
        interpolation=functional.InterpolationMode.BILINEAR,
    )
    return (warped + GREY).round().to(image.dtype)


CHANGES: tuple[Callable[[Tensor, float, float], Tensor], ...] = (
    lambda image, strength, sign: image,
    lambda image, strength, sign: functional.autocontrast(image),
    lambda image, strength, sign: functional.equalize(image),
    lambda image, strength, sign: functional.adjust_brightness(image, 0.1 + 1.8 * strength),
    lambda image, strength, sign: functional.adjust_sharpness(image, 0.1 + 1.8 * strength),
    lambda image, strength, sign: warp(image, x=0.3 * strength * sign),
    lambda image, strength, sign: warp(image, y=0.3 * strength * sign),
    lambda image, strength, sign: warp(image, right=10 * strength * sign),
    lambda image, strength, sign: warp(image, down=10 * strength * sign),
    lambda image, strength, sign: warp(image, angle=30 * strength * sign),
)
"""Of an image, a strength in [0, 1] and a direction of -1 or 1."""


class RandAugment(Operation):
    """Draws changes with replacement and applies each or leaves it out."""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """How many changes, and how strong; the defaults are APTM's."""

        number: Annotated[int, Range(1, 16)] = 2
        """Changes drawn for an image."""
        level: Annotated[float, Range(0, 10)] = 7.0
        """Strength of each, up to 10."""
        share: Share = 0.5
        """Share of drawn changes that are applied."""

    @property
    def draws(self) -> int:
        """Which change, whether it is applied, and in which direction."""
        number: int = self.options.number
        return 3 * number

    def apply(self, image: Tensor, drawn: Draws) -> Tensor:
        """(3, H, W) uint8 of (3, H, W) uint8."""
        for which, gate, side in drawn.reshape(-1, 3):
            if gate < self.options.share:
                change = CHANGES[int(which * len(CHANGES))]
                image = change(image, self.options.level / 10, 1.0 if side < 0.5 else -1.0)
        return image
