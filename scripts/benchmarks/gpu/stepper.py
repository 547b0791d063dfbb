"""The trainer's own step on a batch that lies on the device, and such batches."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.cost import IDENTITIES, draw_batch
from benchmarks.gpu.section import Bench, count_flops
from benchmarks.reference.towers import Architecture
from tpr.commands.resolve import resolve_experiment
from tpr.config.schema import Experiment
from tpr.data.samples.batch import Batch
from tpr.engine.precision import choose_precision
from tpr.engine.trainer import Trainer
from tpr.systems import build_system
from tpr.systems.base import Setting, System

CONFIGS = Path(__file__).parents[3] / "configs"
SMALL_MODEL = {
    "clip": "model.architecture={embed_dim: 32, image: {width: 32, layers: 2, heads: 2, patch: 16}, "
    "text: {width: 32, layers: 2, heads: 2}}",
    "two_stream": "model={layers: [1, 1, 1, 1], width: 4, text: {width: 32, layers: 2, heads: 2}}",
}
"""Towers for a machine without a GPU."""
SMALL_IMAGE = (64, 32)
CAPTIONS = 68_126
"""Training captions of CUHK-PEDES."""
STEPS_PER_EPOCH = 1000


class NoLoader:
    """Stands where the loader would: batches are given by hand."""

    def __len__(self) -> int:
        return STEPS_PER_EPOCH

    def survey(self, epoch: int, *, augment: bool = True) -> Iterator[Batch]:
        """Nothing to read before an epoch."""
        return iter(())


class Stepper:
    """A system in training on one device, step by step, exactly as `tpr train` does it."""

    def __init__(
        self, experiment: Experiment, setting: Setting, bench: Bench, *, system: System | None = None
    ) -> None:
        """system: one that is there; absent: a new one with weights that follow a fixed seed."""
        if system is None:
            torch.manual_seed(1)
            system = build_system(experiment, setting)
        stubs: Any = NoLoader(), None
        self.trainer = Trainer(
            system,
            stubs[0],
            experiment,
            folder=bench.folder,
            precision=choose_precision(experiment.runtime, bench.device),
            scorer=stubs[1],
            recorder=stubs[1],
        )
        self.system = system
        system.before_epoch(self.trainer.describe_epoch())
        system.train()

    def __call__(self, batch: Batch) -> None:
        """One step."""
        self.trainer.step(batch)

    def count_flops(self, batch: Batch) -> int:
        """Floating-point operations of one eager step, forward and backward, by torch's counter."""

        def step() -> None:
            with self.trainer.precision.autocast():
                losses = self.system(batch, self.trainer.seed_step(1, 0)).losses
            torch.stack(list(losses.values())).sum().backward()

        flops = count_flops(step)
        self.trainer.optimizer.zero_grad(set_to_none=True)
        return flops


def open_recipe(bench: Bench, recipe: str, *words: str) -> Experiment:
    """A shipped recipe with fresh weights and settings on top; `quick` takes small towers and images."""
    experiment = resolve_experiment([str(CONFIGS / recipe), "model.weights=null", *words])
    if not bench.quick:
        return experiment
    height, width = SMALL_IMAGE
    small = SMALL_MODEL[experiment.model.name], f"data.image_size=[{height}, {width}]"
    return resolve_experiment([str(CONFIGS / recipe), "model.weights=null", *small, *words])


def describe_setting(experiment: Experiment) -> Setting:
    """The sizes of a run on CUHK-PEDES."""
    data = experiment.data
    return Setting(
        image_size=data.image_size,
        text_length=data.text_length,
        identities=IDENTITIES,
        captions=CAPTIONS,
        captions_per_image=data.captions_per_image,
    )


def with_runtime(experiment: Experiment, **runtime: Any) -> Experiment:
    """The experiment with other settings of the machine."""
    return replace(experiment, runtime=replace(experiment.runtime, **runtime))


def send(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    return cast(
        Batch, {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    )


def draw_pairs(image_size: tuple[int, int], count: int, device: torch.device) -> Batch:
    """Random images with one caption each."""
    return send(draw_batch(Architecture(image_size=image_size), count, 1), device)


def draw_slots(image_size: tuple[int, int], count: int, device: torch.device) -> Batch:
    """Random slots of four per identity: two visible images and an infrared one, a caption of each kind."""
    pairs = draw_batch(Architecture(image_size=image_size), count, 1)
    others = draw_batch(Architecture(image_size=image_size), count, 1, first=count)
    identity = torch.arange(count) // 4
    slots: Batch = pairs | {
        "second_images": others["images"],
        "infrared_images": pairs["images"].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).contiguous(),
        "infrared_tokens": others["tokens"],
        "infrared_index": pairs["image_index"],
        "longest_infrared_caption": others["longest_caption"],
        "identity": identity,
        "text_identity": identity,
    }
    return send(slots, device)
