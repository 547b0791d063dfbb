"""How a model takes images: the filter that resizes them, and the statistics that normalise them.

A model's options name its chain (`interpolation`, `statistics`); loaders, encoders and transforms only
apply it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

Triple = tuple[float, float, float]
Interpolation = Literal["bilinear", "bicubic", "lanczos"]
"""Filter of the resize, each antialiased as Pillow's."""
Statistics = Literal["clip", "imagenet"]
"""Whose channel mean and deviation a tower was trained with."""


@dataclass(frozen=True)
class ImageChain:
    """What happens to every image of one model, in training and evaluation."""

    interpolation: Interpolation
    mean: Triple
    """Channel means of values in [0, 1]."""
    std: Triple
    """Channel deviations of values in [0, 1]."""
    fill: Triple
    """Written into erased rectangles, after normalisation."""

    def resize(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """(3, height, width) uint8 of a (3, H, W) uint8 image, within one grey level of Pillow's."""
        if self.interpolation == "bilinear":
            result: Tensor = functional.resize(
                image, list(size), interpolation=functional.InterpolationMode.BILINEAR, antialias=True
            )
            return result
        # torchvision has no Lanczos for tensors, and its bicubic is up to two grey levels off.
        pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        resized = pixels.resize(size[::-1], Image.Resampling[self.interpolation.upper()])
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's channel mean and deviation, of values in [0, 1]."""
IMAGENET_FILL = (0.4914, 0.4822, 0.4465)
"""What the published chains with ImageNet's statistics erase with."""

CLIP_CHAIN = ImageChain("bilinear", MEAN, STD, MEAN)
"""IRRA's published chain."""


def name_chain(interpolation: Interpolation, statistics: Statistics) -> ImageChain:
    """The chain that a model's options name."""
    if statistics == "imagenet":
        return ImageChain(interpolation, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), IMAGENET_FILL)
    return ImageChain(interpolation, MEAN, STD, MEAN)
