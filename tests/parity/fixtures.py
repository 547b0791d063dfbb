"""The fixtures of the parity tests, and the sizes and settings behind each, so that others can stand in.

TPR_PARITY names a folder whose files of the same names are read in place of those beside this file.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tpr.config.schema import OptimOptions, ScheduleOptions
from tpr.models.architecture import ClipArchitecture, read_architecture
from tpr.models.weights import read_checkpoint
from tpr.systems import load_system
from tpr.systems.base import System
from tpr.systems.loading import read_experiment_of

FOLDER = Path(os.environ.get("TPR_PARITY", Path(__file__).parent))
Shapes = Mapping[str, Sequence[int]]


def read_fixture(name: str) -> Any:
    """The content of a fixture; its form is told in the specification of the parity cases."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def read_towers(shapes: Shapes) -> ClipArchitecture:
    """The towers behind a fixture's `clip_shapes`."""
    state = {name: torch.empty(list(shape), device="meta") for name, shape in shapes.items()}
    return read_architecture(state, quick_gelu=True)


def find_image_size(shapes: Shapes) -> tuple[int, int]:
    """A size of images that has as many patches as there are positions."""
    patch = shapes["visual.conv1.weight"][-1]
    return (patch * (shapes["visual.positional_embedding"][0] - 1), patch)


def count_patches(shapes: Shapes, image_size: Sequence[int]) -> int:
    """Patches of an image of this size."""
    height, width = (length // shapes["visual.conv1.weight"][-1] for length in image_size)
    return height * width


def describe_resize(shapes: Shapes, image_size: Sequence[int]) -> dict[str, str]:
    """What a report says of the image positions: a square grid stored, the images' own wanted."""
    side = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)
    height, width = (length // shapes["visual.conv1.weight"][-1] for length in image_size)
    told = f"{side}x{side} -> {height}x{width}"
    return {"base_model.visual.positional_embedding": told} if (height, width) != (side, side) else {}


def load_official(path: Path, image_size: Sequence[int], **options: Any) -> System:
    """An official file's system at a fixture's size of images, with options that no file holds."""
    told = read_experiment_of(read_checkpoint(path))
    system = replace(told.system, options=replace(told.system.options, **options))
    data = replace(told.data, image_size=tuple(image_size))
    return load_system(path, experiment=replace(told, system=system, data=data))


def read_adam(adam: Mapping[str, Any], groups: Iterable[Sequence[float]]) -> OptimOptions:
    """Adam behind a fixture's `adam` and `param_groups`, whose lowest rate is the one before all factors."""
    rates, decays = zip(*groups, strict=True)
    betas = tuple(adam["betas"])
    return OptimOptions(lr=min(rates), weight_decay=max(decays), betas=betas, eps=adam["eps"])


def read_schedule(factors: Sequence[float]) -> ScheduleOptions:
    """The schedule behind `lr_factor_by_epoch`: a warm-up, then a cosine or single drops."""
    top = list(factors).index(1.0)
    warmup = {"epochs": len(factors), "warmup_epochs": top, "warmup_factor": factors[0]}
    drops = [epoch for epoch in range(top + 1, len(factors)) if factors[epoch] != factors[epoch - 1]]
    if len(drops) == len(factors) - top - 1:
        return ScheduleOptions(**warmup)
    gamma = tuple(factors[epoch] / factors[epoch - 1] for epoch in drops)
    return ScheduleOptions(**warmup, name="step", milestones=tuple(drops), gamma=gamma)
