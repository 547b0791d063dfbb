"""Channels exchanged and greyed: what is done, how often, and by whose draws."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tpr.config.augment import AugmentOptions
from tpr.data.images.chains import name_chain
from tpr.data.images.infrared import (
    KEPT,
    WEIGHED,
    CrossModalityTransform,
    choose_channel,
    choose_grey,
    exchange_channels,
)
from tpr.data.images.transforms import normalise_pixels, turn_grey

CHAIN = name_chain("lanczos", "imagenet")
PLAIN = AugmentOptions(erase=0, infrared_erase=0)


def draw_batch(count: int = 12, first: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 6, 4), dtype=torch.uint8, generator=generator)
    names = ("images", "second_images", "infrared_images")
    return {name: pixels.clone() for name in names} | {"sample_index": torch.arange(first, first + count)}


def finish(how: AugmentOptions, batch: dict[str, Tensor], seed: int = 1, epoch: int = 1) -> dict[str, Tensor]:
    batch = dict(batch)
    CrossModalityTransform(how, seed=seed, chain=CHAIN).finish(batch, epoch=epoch)  # type: ignore[arg-type]
    return batch


def test_exchanging_copies_one_channel_weighs_three_or_keeps_all() -> None:
    images = torch.arange(5 * 3 * 2.0).reshape(5, 3, 2, 1)
    out = exchange_channels(images, torch.tensor([0, 1, 2, WEIGHED, KEPT]))
    for place in range(3):
        assert torch.equal(out[place], images[place, place].expand(3, 2, 1))
    red, green, blue = images[3]
    assert torch.allclose(out[3], (0.2989 * red + 0.587 * green + 0.114 * blue).expand(3, 2, 1))
    assert torch.equal(out[4], images[4])


def test_choices_are_as_frequent_as_published() -> None:
    first, second = torch.rand(2, 40_000, generator=torch.Generator().manual_seed(0))
    exchanged = torch.bincount(choose_channel(first, second, 0.5), minlength=5) / 40_000
    assert torch.allclose(exchanged, torch.tensor([1 / 6, 1 / 6, 1 / 6, 0, 1 / 2]), atol=0.01)
    grey = torch.bincount(choose_grey(first, second, 0.6), minlength=5) / 40_000
    assert torch.allclose(grey, torch.tensor([0.25, 0.25, 0.25, 0.15, 0.1]), atol=0.01)


def test_each_image_of_a_slot_gets_its_own_treatment() -> None:
    batch = draw_batch(400)
    whole = normalise_pixels(batch["images"], CHAIN)
    done = finish(AugmentOptions(erase=0, infrared_erase=0, grey=0.3, exchange=0.5, infrared_grey=0.6), batch)

    def share_without_colour(images: Tensor) -> float:
        return float((images == images[:, :1]).flatten(1).all(dim=1).float().mean())

    # after normalisation a grey image has three different channels, an exchanged one has not
    grey = turn_grey(batch["images"], torch.ones(400, dtype=torch.bool))
    is_grey = (done["images"] == normalise_pixels(grey, CHAIN)).flatten(1).all(dim=1)
    assert abs(float(is_grey.float().mean()) - 0.3) < 0.1
    assert torch.equal(done["images"][~is_grey], whole[~is_grey])
    assert abs(share_without_colour(done["second_images"]) - 0.5) < 0.1
    assert abs(share_without_colour(done["infrared_images"]) - 0.9) < 0.06
    kept = (done["second_images"] == whole).flatten(1).all(dim=1)
    assert abs(float(kept.float().mean()) - 0.5) < 0.1


def test_grey_is_pillows_within_one_level() -> None:
    pixels = draw_batch()["images"]
    grey = turn_grey(pixels, torch.ones(12, dtype=torch.bool))
    for ours, image in zip(grey, pixels, strict=True):
        pillows = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        assert (ours[0].int() - torch.from_numpy(pillows).int()).abs().max() <= 1
        assert torch.equal(ours[0], ours[1])


def test_rectangles_are_erased_with_the_published_fill_at_different_places() -> None:
    batch = draw_batch(300)
    done = finish(AugmentOptions(erase=1, infrared_erase=0.5, erase_law="uniform"), batch)
    fill = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
    masks = [(done[name] == fill).all(dim=1) for name in ("images", "second_images", "infrared_images")]
    shares = [float(mask.flatten(1).any(dim=1).float().mean()) for mask in masks]
    assert min(shares[:2]) > 0.95  # the smallest rectangles round to nothing in so small an image
    assert abs(shares[2] - 0.5) < 0.1
    assert float((masks[0] == masks[1]).flatten(1).all(dim=1).float().mean()) < 0.2


def test_draws_are_functions_of_seed_epoch_and_sample_alone() -> None:
    how = AugmentOptions(grey=0.4, exchange=0.5, infrared_grey=0.6)
    whole, batch = finish(how, draw_batch()), draw_batch()
    for name in ("images", "second_images", "infrared_images"):
        parts = [
            finish(how, {key: value[part] for key, value in batch.items()})
            for part in (slice(5), slice(5, 12))
        ]
        assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
        assert not torch.equal(finish(how, draw_batch(), seed=2)[name], whole[name])
        assert not torch.equal(finish(how, draw_batch(), epoch=2)[name], whole[name])


def test_nothing_is_exchanged_by_default() -> None:
    done = finish(PLAIN, draw_batch())
    for name in ("images", "second_images", "infrared_images"):
        assert torch.equal(done[name], normalise_pixels(draw_batch()["images"], CHAIN))
