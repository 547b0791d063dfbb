"""The images of a slot on the device: two views of the visible image and the infrared one.

Each image has erased rectangles of its own; colour is then taken from the second visible view and, what
there is of it, from the infrared image, so that a tower cannot lean on it.
Source: TVI-LFM, NeurIPS 2024, official `data_loader/processing.py` (ChannelExchange, ChannelAdapGray), after
CAJ, ICCV 2021.
"""

from dataclasses import replace

import torch
from torch import Tensor

from tpr.config.augment import AugmentOptions
from tpr.data.images.chains import ImageChain
from tpr.data.images.transforms import DeviceTransform
from tpr.data.samples.batch import Batch
from tpr.data.samples.randomness import Purpose, hash_uniform

WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Shares of the channels in a grey image; of normalised values, as published."""
WEIGHED, KEPT = 3, 4
"""Choices beyond the three channels: grey by `WEIGHTS`, and the image as it is."""


class CrossModalityTransform:
    """uint8 images of a batch of slots -> normalised, erased and exchanged ones, on the batch's device."""

    def __init__(self, augment: AugmentOptions, *, seed: int, chain: ImageChain) -> None:
        second = replace(augment, grey=0.0)
        infrared = replace(augment, grey=0.0, erase=augment.infrared_erase)
        self.augment = augment
        self.seed = seed
        self._views = [
            DeviceTransform(how, seed=seed, chain=chain, view=view)
            for view, how in enumerate((augment, second, infrared))
        ]

    def finish(self, batch: Batch, *, epoch: int) -> None:
        """Replace the uint8 images of a training batch. Nothing waits for a GPU."""
        samples = batch["sample_index"]
        first, second, infrared = self._views
        drawn = hash_uniform(self.seed, epoch, Purpose.EXCHANGE, samples, 4)
        batch["images"] = first(batch["images"], samples, epoch=epoch)
        batch["second_images"] = second(batch["second_images"], samples, epoch=epoch)
        batch["infrared_images"] = infrared(batch["infrared_images"], samples, epoch=epoch)
        if self.augment.exchange:
            choice = choose_channel(drawn[:, 0], drawn[:, 1], self.augment.exchange)
            batch["second_images"] = exchange_channels(batch["second_images"], choice)
        if self.augment.infrared_grey is not None:
            choice = choose_grey(drawn[:, 2], drawn[:, 3], self.augment.infrared_grey)
            batch["infrared_images"] = exchange_channels(batch["infrared_images"], choice)


def choose_channel(gate: Tensor, kind: Tensor, share: float) -> Tensor:
    """(B,) one of the three channels for a share of the images, `KEPT` for the others.

    gate, kind: (B,) uniform in [0, 1).
    """
    return torch.where(gate < share, (3 * kind).long(), KEPT)


def choose_grey(kind: Tensor, gate: Tensor, share: float) -> Tensor:
    """(B,) each channel for a quarter of the images; of the fourth quarter a share is weighed grey.

    kind, gate: (B,) uniform in [0, 1).
    """
    chosen = (4 * kind).long()
    return torch.where((chosen == WEIGHED) & (gate >= share), KEPT, chosen)


def exchange_channels(images: Tensor, choice: Tensor) -> Tensor:
    """(B, 3, H, W) with one channel in place of all three, or grey, or as they are. choice: (B,)."""
    choice = choice[:, None, None, None]
    copied = images.take_along_dim(choice.clamp(max=2), dim=1)
    weighed = sum(weight * images[:, i : i + 1] for i, weight in enumerate(WEIGHTS))
    single = torch.where(choice == WEIGHED, weighed, copied)
    return torch.where(choice == KEPT, images, single)
