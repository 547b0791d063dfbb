"""IRRA's picture chain, cut in two: geometry in uint8 by the workers, the rest on the device.

Workers resize, mirror, pad and crop by slicing into the batch; the device turns bytes into floats,
normalises and erases. A picture costs a quarter of the float chain's bytes on its way. Every draw is a
function of (seed, epoch, sample).
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from tpr.config.schema import AugmentOptions
from tpr.data.corpus import IndexArray
from tpr.data.randomness import Purpose, hash_uniform, uniform_rows

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's channel mean and deviation, of values in [0, 1]."""

Statistics = Literal["clip", "imagenet"]
CHANNELS: dict[Statistics, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "clip": (MEAN, STD),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Channel mean and deviation by the weights that read the pictures."""

ATTEMPTS = 10
"""Rectangles tried before a picture is left whole, as in torchvision's RandomErasing."""

Pixels = npt.NDArray[np.uint8]


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, height, width) uint8 by antialiased bilinear interpolation, within one grey level of Pillow's."""
    result: Tensor = functional.resize(
        image, list(size), interpolation=functional.InterpolationMode.BILINEAR, antialias=True
    )
    return result


def draw_geometry(augment: AugmentOptions, samples: IndexArray, *, seed: int, epoch: int) -> IndexArray:
    """(B, 3) per sample: 1 if mirrored, and how far the picture moves down and right in its frame."""
    flip = uniform_rows(seed, epoch, Purpose.FLIP, samples, 1) < augment.flip
    corner = np.floor(uniform_rows(seed, epoch, Purpose.CROP, samples, 2) * (2 * augment.pad + 1))
    return np.concatenate([flip, augment.pad - corner], axis=1).astype(np.int64)


def place(picture: Pixels, frame: Pixels, geometry: IndexArray) -> None:
    """Write a resized picture into its black frame: the same as mirror, pad with black, crop.

    picture, frame: (3, H, W), the frame all zero. geometry: one row of `draw_geometry`.
    """
    mirrored, down, right = (int(value) for value in geometry)
    height, width = frame.shape[1:]
    if mirrored:
        picture = torch.from_numpy(picture).flip(2).numpy()  # numpy's own mirror takes ten times as long
    # A pad larger than the picture may move it out of its frame altogether.
    down, right = max(-height, min(down, height)), max(-width, min(right, width))
    source = picture[:, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)]
    frame[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = source


@lru_cache(maxsize=32)
def _send_constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(3, 1, 1) on the device, sent once: a copy from the host in every step would wait for the device."""
    return torch.tensor(values, device=device)[:, None, None]


def normalise_pixels(images: Tensor, statistics: Statistics = "clip") -> Tensor:
    """(B, 3, H, W) uint8 -> float32 by a mean and a deviation, on the device of `images`."""
    means, deviations = CHANNELS[statistics]
    mean = _send_constant(tuple(255 * value for value in means), images.device)
    scale = _send_constant(tuple(1 / (255 * value) for value in deviations), images.device)
    # Two rounded steps rather than one fused one: the same bits however a batch is split.
    return _allocate_planes(images).copy_(images).sub_(mean).mul_(scale)


def _allocate_planes(images: Tensor) -> Tensor:
    """Empty float32 memory for the images, plane after plane."""
    if images.device.type == "cpu":
        # numpy asks for huge pages, torch does not: most of the time went into touching small ones.
        return torch.from_numpy(np.empty(images.shape, dtype=np.float32))
    return torch.empty(images.shape, dtype=torch.float32, device=images.device)


class DeviceTransform:
    """uint8 batch -> normalised float32 batch with erased rectangles, on the batch's device."""

    def __init__(self, augment: AugmentOptions, *, seed: int) -> None:
        self.augment = augment
        self.seed = seed

    def __call__(self, images: Tensor, sample_index: Tensor, *, epoch: int) -> Tensor:
        """(B, 3, H, W) float32 of (B, 3, H, W) uint8; sample_index: (B,) int64. Nothing waits for a GPU."""
        normalised = normalise_pixels(images)
        if self.augment.erase == 0:
            return normalised
        height, width = images.shape[2:]
        boxes = draw_boxes(self.augment, sample_index, (height, width), seed=self.seed, epoch=epoch)
        return erase(normalised, boxes, published_fill=self.augment.erase_fill == "published")


def draw_boxes(
    augment: AugmentOptions, sample_index: Tensor, size: tuple[int, int], *, seed: int, epoch: int
) -> Tensor:
    """(B, 4) int64 top, left, height, width of the erased rectangle; height and width 0 where none is.

    Source: torchvision's RandomErasing: up to ten attempts of an area uniform in its range and a ratio
    uniform in logarithm, until one is smaller than the picture on both sides.
    """
    height, width = size
    # float64: the device's exp and sqrt may differ in the last bit, which must not move a rounded side.
    drawn = hash_uniform(seed, epoch, Purpose.ERASE, sample_index, 1 + 4 * ATTEMPTS, torch.float64)
    area_draw, ratio_draw, top_draw, left_draw = drawn[:, 1:].reshape(-1, ATTEMPTS, 4).unbind(-1)
    smallest, largest = augment.erase_area
    area = height * width * (smallest + (largest - smallest) * area_draw)
    narrow, tall = (math.log(ratio) for ratio in augment.erase_ratio)
    ratio = torch.exp(narrow + (tall - narrow) * ratio_draw)
    heights = torch.sqrt(area * ratio).round()
    widths = torch.sqrt(area / ratio).round()
    tops = torch.floor(top_draw * (height - heights + 1))
    lefts = torch.floor(left_draw * (width - widths + 1))
    fits = (heights < height) & (widths < width)
    first = fits & (fits.cumsum(dim=1) == 1)
    chosen = first & (drawn[:, :1] < augment.erase)
    boxes = torch.stack([tops, lefts, heights, widths], dim=2) * chosen[:, :, None]
    return boxes.sum(dim=1).to(torch.int64)


def erase(images: Tensor, boxes: Tensor, *, published_fill: bool) -> Tensor:
    """Normalised (B, 3, H, W) images with `boxes` ((B, 4)) filled; may change `images` in place.

    The published fill is CLIP's mean vector in normalised space (the official chain erases after it has
    normalised); otherwise 0, the mean grey itself.
    """
    fill = _send_constant(MEAN if published_fill else (0.0, 0.0, 0.0), images.device)
    if images.device.type == "cpu":  # thirty times as fast there as a mask over all pixels
        for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True):
            image[:, top : top + height, left : left + width] = fill
        return images
    return torch.where(_mask_boxes(boxes, images.shape[2], images.shape[3]), fill, images)


def _mask_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, height, width) True inside the rectangles; reads no value on the host."""
    top, left, tall, wide = (column[:, None] for column in boxes.unbind(1))
    row = torch.arange(height, device=boxes.device)
    column = torch.arange(width, device=boxes.device)
    rows = (row >= top) & (row < top + tall)
    columns = (column >= left) & (column < left + wide)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
