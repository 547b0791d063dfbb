"""IRRA's image chain, cut in two: geometry in uint8 by the workers, the rest on the device.

Workers resize, mirror, pad and crop by slicing into the batch; the device turns bytes into floats,
normalises and erases. An image costs a quarter of the float chain's bytes on its way. Every draw is a
function of (seed, epoch, sample) and, where a sample has several images, of which view it is.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.config.augment import AugmentOptions
from tpr.data.images.chains import ImageChain
from tpr.data.samples.batch import Batch
from tpr.data.samples.randomness import Purpose, hash_uniform, uniform_rows
from tpr.data.tables.corpus import IndexArray

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey image."""


ATTEMPTS = 10
"""Rectangles tried before an image is left whole, as in torchvision's RandomErasing."""

IMAGES: tuple[Literal["images", "second_images", "infrared_images", "plain_images"], ...] = (
    "images",
    "second_images",
    "infrared_images",
    "plain_images",
)
"""Names of images in a batch."""

Pixels = npt.NDArray[np.uint8]


def draw_geometry(
    augment: AugmentOptions, samples: IndexArray, *, seed: int, epoch: int, view: int = 0
) -> IndexArray:
    """(B, 3) per sample: 1 if mirrored, and how far the image moves down and right in its frame."""
    flip = uniform_rows(seed, epoch, Purpose.FLIP, samples, view + 1)[:, view:] < augment.flip
    moved = uniform_rows(seed, epoch, Purpose.CROP, samples, 2 * view + 2)[:, 2 * view :]
    corner = np.floor(moved * (2 * augment.pad + 1))
    return np.concatenate([flip, augment.pad - corner], axis=1).astype(np.int64)


def place(image: Pixels, frame: Pixels, geometry: IndexArray) -> None:
    """Write a resized image into its black frame: the same as mirror, pad with black, crop.

    image, frame: (3, H, W), the frame all zero. geometry: one row of `draw_geometry`.
    """
    mirrored, down, right = (int(value) for value in geometry)
    height, width = frame.shape[1:]
    if mirrored:
        image = torch.from_numpy(image).flip(2).numpy()  # numpy's own mirror takes ten times as long
    # A pad larger than the image may move it out of its frame altogether.
    down, right = max(-height, min(down, height)), max(-width, min(right, width))
    source = image[:, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)]
    frame[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = source


@lru_cache(maxsize=32)
def _send_constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(3, 1, 1) on the device, sent once: a copy from the host in every step would wait for the device."""
    return torch.tensor(values, device=device)[:, None, None]


def normalise_pixels(images: Tensor, chain: ImageChain) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 with the chain's mean and deviation, on the device of `images`."""
    mean = _send_constant(tuple(255 * value for value in chain.mean), images.device)
    scale = _send_constant(tuple(1 / (255 * value) for value in chain.std), images.device)
    # Two rounded steps rather than one fused one: the same bits however a batch is split.
    return _allocate_planes(images).copy_(images).sub_(mean).mul_(scale)


def normalise_rest(batch: Batch, chain: ImageChain) -> None:
    """Normalise the images of a batch that are still bytes, as they come without augmentation."""
    for name in IMAGES:
        if name in batch and batch[name].dtype == torch.uint8:
            batch[name] = normalise_pixels(batch[name], chain)


def _allocate_planes(images: Tensor) -> Tensor:
    """Empty float32 memory for the images, plane after plane."""
    if images.device.type == "cpu":
        # numpy asks for huge pages, torch does not: most of the time went into touching small ones.
        return torch.from_numpy(np.empty(images.shape, dtype=np.float32))
    return torch.empty(images.shape, dtype=torch.float32, device=images.device)


class DeviceTransform:
    """uint8 batch -> normalised float32 batch with erased rectangles, on the batch's device."""

    def __init__(self, augment: AugmentOptions, *, seed: int, chain: ImageChain, view: int = 0) -> None:
        """view: which of a sample's images it is, so that each has draws of its own."""
        self.augment = augment
        self.seed = seed
        self.chain = chain
        self.view = view

    def __call__(self, images: Tensor, sample_index: Tensor, *, epoch: int) -> Tensor:
        """(B, 3, H, W) float32 of (B, 3, H, W) uint8; sample_index: (B,) int64. Nothing waits for a GPU."""
        if self.augment.grey:
            drawn = hash_uniform(self.seed, epoch, Purpose.GREY, sample_index, self.view + 1)[:, -1]
            images = turn_grey(images, drawn < self.augment.grey)
        normalised = normalise_pixels(images, self.chain)
        if self.augment.erase == 0:
            return normalised
        height, width = images.shape[2:]
        boxes = draw_boxes(
            self.augment, sample_index, (height, width), seed=self.seed, epoch=epoch, view=self.view
        )
        fill = self.augment.erase_fill == "published"
        return erase(normalised, boxes, published_fill=fill, chain=self.chain)

    def finish(self, batch: Batch, *, epoch: int) -> None:
        """Replace the uint8 images of a training batch."""
        batch["images"] = self(batch["images"], batch["sample_index"], epoch=epoch)


def turn_grey(images: Tensor, chosen: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 without colour where `chosen` ((B,) bool) says so."""
    grey = (images * _send_constant(LUMA, images.device)).sum(dim=1, keepdim=True).round_()
    return torch.where(chosen[:, None, None, None], grey.to(images.dtype), images)


def draw_boxes(
    augment: AugmentOptions,
    sample_index: Tensor,
    size: tuple[int, int],
    *,
    seed: int,
    epoch: int,
    view: int = 0,
) -> Tensor:
    """(B, 4) int64 top, left, height, width of the erased rectangle; height and width 0 where none is."""
    draws = 1 + 4 * ATTEMPTS
    # float64: the device's exp and sqrt may differ in the last bit, which must not move a rounded side.
    drawn = hash_uniform(seed, epoch, Purpose.ERASE, sample_index, draws * (view + 1), torch.float64)
    return find_boxes(augment, drawn[:, draws * view :], size)


def find_boxes(augment: AugmentOptions, drawn: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 4) boxes of uniform numbers: one that decides, and four for each attempt (area, ratio, top, left).

    Source: torchvision's RandomErasing: up to ten attempts of an area uniform in its range and a ratio
    uniform in logarithm, until one is smaller than the image on both sides. With `erase_law: uniform`
    TVI-LFM's ChannelRandomErasing, official `data_loader/processing.py`; Differs: it makes 100 attempts.
    """
    height, width = size
    area_draw, ratio_draw, top_draw, left_draw = (
        drawn[:, 1:].reshape(len(drawn), drawn.shape[1] // 4, 4).unbind(-1)
    )
    smallest, largest = augment.erase_area
    area = height * width * (smallest + (largest - smallest) * area_draw)
    low, high = augment.erase_ratio
    if augment.erase_law == "uniform":
        ratio = low + (high - low) * ratio_draw
    else:
        ratio = torch.exp(math.log(low) + (math.log(high) - math.log(low)) * ratio_draw)
    heights = torch.sqrt(area * ratio).round()
    widths = torch.sqrt(area / ratio).round()
    tops = torch.floor(top_draw * (height - heights + 1))
    lefts = torch.floor(left_draw * (width - widths + 1))
    fits = (heights < height) & (widths < width)
    first = fits & (fits.cumsum(dim=1) == 1)
    chosen = first & (drawn[:, :1] < augment.erase)
    boxes = torch.stack([tops, lefts, heights, widths], dim=2) * chosen[:, :, None]
    return boxes.sum(dim=1).to(torch.int64)


def erase(images: Tensor, boxes: Tensor, *, published_fill: bool, chain: ImageChain) -> Tensor:
    """Normalised (B, 3, H, W) images with `boxes` ((B, 4)) filled; may change `images` in place.

    The published fill is a mean vector in normalised space (the official chains erase after they have
    normalised), CLIP's own or with ImageNet's statistics another; otherwise 0, the mean grey itself.
    """
    fill = _send_constant(chain.fill if published_fill else (0.0, 0.0, 0.0), images.device)
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
