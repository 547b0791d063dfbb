"""Image operations listed by name: what RandAugment does, and that draws belong to the sample."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.small_corpus import make_corpus
from tests.data.test_loader import make_loader
from tests.data.test_transforms import draw_pixels
from tpr.config.augment import AugmentOptions
from tpr.config.schema import Choice, Experiment
from tpr.config.typed import build_experiment
from tpr.data.images.operation import Draws, Operation
from tpr.data.images.operations import OPERATIONS, augment_images
from tpr.data.images.rand_augment import CHANGES, RandAugment
from tpr.errors import ConfigError
from tpr.systems import TABLES

PLAIN = AugmentOptions(flip=0, pad=0)
RAND = replace(PLAIN, operations=(Choice("rand_augment", RandAugment.Options()),))


class Mark(Operation):
    """Writes its number and its draws into the first pixels."""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Which number."""

        number: int = 1

    draws = 2

    def apply(self, image: Tensor, drawn: Draws) -> Tensor:
        marked = image.clone()
        marked[0, 0, 0] = 10 * marked[0, 0, 0] + self.options.number
        marked[self.options.number, 0, :2] = torch.from_numpy(255 * drawn).to(torch.uint8)
        return marked


def augment(how: AugmentOptions, samples: np.ndarray, **place: int) -> Tensor:
    """The same image for every sample, as the workers change it."""
    frames = torch.zeros(len(samples), 24, 16, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    augment_images(
        [draw_pixels(24, 16)] * len(samples), frames, how, samples, **{"seed": 1, "epoch": 1, **place}
    )
    return frames


def change(number: int, *, level: float = 7, side: float = 0.0, image: Tensor | None = None) -> Tensor:
    """One change of a grey ramp, or of an image."""
    options = RandAugment.Options(number=1, level=level, share=1)
    ramp = torch.arange(40, 140, dtype=torch.uint8).repeat(3, 60, 1) if image is None else image
    return RandAugment(options).apply(ramp, np.float32([(number + 0.5) / len(CHANGES), 0, side]))


def test_listed_operations_follow_one_another_with_draws_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(OPERATIONS, "mark", Mark)
    black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    how = replace(PLAIN, operations=tuple(Choice("mark", Mark.Options(number=n)) for n in (1, 2)))
    samples = np.arange(300)
    frames = torch.zeros(300, 3, 4, 4, dtype=torch.uint8)
    augment_images([black] * 300, frames, how, samples, seed=1, epoch=1)
    assert (frames[:, 0, 0, 0] == 12).all()
    drawn = frames[:, 1:, 0, :2].flatten(1).double()
    assert abs(drawn.mean() - 127.5) < 10
    assert torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max() < 0.2


def test_no_operation_is_the_default_and_changes_nothing() -> None:
    assert AugmentOptions().operations == ()
    assert torch.equal(augment(PLAIN, np.arange(3)), torch.stack([draw_pixels(24, 16)] * 3))


def test_draws_are_a_function_of_seed_epoch_sample_and_view() -> None:
    samples = np.arange(40) * 999_983
    whole = augment(RAND, samples)
    assert torch.equal(torch.cat([augment(RAND, part) for part in np.split(samples, [3, 17])]), whole)
    for other in ({"seed": 2}, {"epoch": 2}, {"view": 1}):
        assert not torch.equal(augment(RAND, samples, **other), whole)


def test_two_of_ten_changes_are_drawn_and_each_is_left_out_as_often_as_not() -> None:
    image = draw_pixels(24, 16)
    assert torch.equal(change(1, image=image), image)  # its contrast is full, and one of ten changes nothing
    changed = (augment(RAND, np.arange(1500)) != image).flatten(1).any(dim=1).double().mean()
    assert abs(changed - (1 - 0.6**2)) < 4 * np.sqrt(0.64 * 0.36 / 1500)
    none = replace(PLAIN, operations=(Choice("rand_augment", RandAugment.Options(share=0)),))
    assert torch.equal(augment(none, np.arange(5)), torch.stack([image] * 5))


def test_the_strengths_are_those_of_aptm() -> None:
    ramp = change(0)
    assert torch.equal(change(3), (ramp * 1.36).to(torch.uint8))
    assert torch.equal(change(7)[:, :, 7:], ramp[:, :, :-7]) and (change(7)[:, :, :7] == 128).all()
    assert torch.equal(change(7, side=0.9)[:, :, :-7], ramp[:, :, 7:])
    assert torch.equal(change(8)[:, 7:], ramp[:, :-7]) and (change(8)[:, :7] == 128).all()
    # Two rows 40 pixels apart are sheared by 0.21 of that, each rounded.
    sheared = change(5).double() - ramp
    assert abs(sheared[0, 50, 20:80].mean() - sheared[0, 10, 20:80].mean()).item() == pytest.approx(
        8.4, abs=0.6
    )
    line = torch.full((3, 61, 61), 128, dtype=torch.uint8)
    line[:, 30] = 255
    assert abs(int(change(9, image=line)[0, :, 50].argmax()) - 30) == round(20 * np.tan(np.radians(21)))
    flat = torch.full((3, 9, 9), 100, dtype=torch.uint8)
    assert all(torch.equal(change(number, image=flat), flat) for number in (0, 1))
    for number in (5, 6, 7, 8, 9):
        moved = change(number, image=flat)
        assert moved.min() == 100 and 100 < moved.max() <= 128, "the rim blends with grey, and never darkens"
    assert change(1).min() == 0 and change(1).max() >= 254


def test_a_loader_reads_the_same_batches_with_and_without_workers(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, [1] * 8)

    def read(how: AugmentOptions, workers: int) -> Tensor:
        how = replace(how, erase=0)
        loader = make_loader(corpus, tmp_path, augment=how, workers=workers)
        return torch.cat([batch["images"] for batch in loader.epoch(1)])

    changed = read(RAND, 0)
    assert torch.equal(changed, read(RAND, 2))
    assert not torch.equal(changed, read(PLAIN, 0))


def test_operations_are_named_in_a_config_with_or_without_options() -> None:
    def build(operations: object) -> Experiment:
        data = {"augment": {"operations": operations}}
        return build_experiment({"system": "irra", "model": "clip", "data": data}, TABLES)

    chosen = build(["rand_augment", {"name": "rand_augment", "level": 3}]).data.augment.operations
    assert [choice.options.level for choice in chosen] == [7, 3]
    with pytest.raises(ConfigError, match=r"operations\[0\].name: 'randaugment' is not known.*rand_augment"):
        build(["randaugment"])
    with pytest.raises(ConfigError, match=r"operations\[0\].level: expected .* in \[0, 10\], got 11"):
        build([{"name": "rand_augment", "level": 11}])
