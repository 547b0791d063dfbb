"""Systems from a configuration or from a checkpoint, ours or official."""

import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tpr import systems
from tpr.config.schema import Choice, DataOptions, Experiment
from tpr.config.typed import build_experiment, build_options
from tpr.errors import CheckpointError, ConfigError
from tpr.models.architecture import find_architecture, read_architecture
from tpr.models.clip import ClipOptions, count_patches
from tpr.models.positions import guess_grid
from tpr.models.weights import Checkpoint, LoadReport, fit_state, read_checkpoint
from tpr.systems.base import Setting, System
from tpr.systems.dual_encoder import TOWERS, take_towers

logger = logging.getLogger(__name__)

OFFICIAL_SIZE = (384, 128)
"""Input of every published system that shares IRRA's layout."""
CLASSIFIER = re.compile(r"(module\.)?classifier\.(classifier\.)?weight")
"""The classifier of an official file, a row per identity."""
OPENAI_NAMES = {"input_resolution", "context_length", "vocab_size"}
"""Entries of OpenAI's own files beside the weights."""


def build_system(experiment: Experiment, setting: Setting) -> System:
    """The system of a configuration, on the CPU, with the weights that `model.weights` names.

    With `init.checkpoint` those that it replaces are not read (`load_weights`).
    Fresh weights follow torch's global seed.
    """
    system = _build(experiment, setting)
    system.load_published(experiment.init)
    return system


def load_weights(system: System, path: Path, minimum_share: float = 0.9) -> LoadReport:
    """Starts a system from a checkpoint, ours or official, by exact names; logs and returns the report.

    Raises CheckpointError when less than `minimum_share` of the values fit.
    """
    checkpoint = read_checkpoint(path)
    report = _fit(system, checkpoint, minimum_share)
    logger.info("%s: %s", path, report.render())
    return report


def load_system(
    checkpoint: Path | str, device: str | torch.device = "cpu", *, experiment: Experiment | None = None
) -> System:
    """A checkpoint as a system in evaluation mode, ready to encode pictures and texts.

    checkpoint: a file of ours, of IRRA's layout (IRRA, MLLM4Text-ReID, HAM), or a bare CLIP file of OpenAI
    or open_clip. experiment: what to build; absent: what the file says (`read_experiment_of`).
    Raises CheckpointError in one line for a file that cannot be read or does not fit.
    """
    content = read_checkpoint(Path(checkpoint))
    experiment = experiment or read_experiment_of(content)
    system = _build(experiment, _read_setting(content, experiment))
    report = _fit(system, content, experiment.init.minimum_share)
    logger.info("%s: %s", checkpoint, report.render())
    if report.missing or report.reinitialised:
        logger.warning("%s lacks part of the system: %s", checkpoint, report.render())
    return system.to(device).eval()


def read_experiment_of(checkpoint: Checkpoint) -> Experiment:
    """The configuration that a checkpoint was made with; for official files one to evaluate them with."""
    if checkpoint.config is not None:
        try:
            return build_experiment(checkpoint.config, systems.TABLES)
        except ConfigError as error:
            raise _unreadable(checkpoint, error) from None
    name, options, state = recognise_official(checkpoint)
    found = systems.SYSTEMS[name].read_model(state)
    if found is not None:
        return Experiment(system=Choice(name, options), model=found[0], data=found[1])
    towers = take_towers(state)
    try:
        sizes = read_architecture(towers, quick_gelu=True)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from None
    _warn_of_activation(checkpoint)
    patches = len(towers["visual.positional_embedding"]) - 1
    image_size, stride = find_input(patches, sizes.image.patch)
    return Experiment(
        system=Choice(name, options),
        model=Choice("clip", ClipOptions(architecture=sizes, stride=stride)),
        data=DataOptions(image_size=image_size, text_length=sizes.text.context),
    )


def recognise_official(checkpoint: Checkpoint) -> tuple[str, Any, dict[str, Tensor]]:
    """Name and options of the system that an official file is of, and its weights in our names."""
    for name, system in systems.SYSTEMS.items():
        state = system.from_official(checkpoint.state)
        if (options := system.read_options(state)) is not None:
            return name, options, state
    raise CheckpointError(f"{checkpoint.path}: of no system here; known: {', '.join(systems.SYSTEMS)}")


def find_input(patches: int, patch: int) -> tuple[tuple[int, int], int | None]:
    """Picture size and stride behind a number of stored patch positions.

    A square number comes from CLIP's own pictures and is resized for the published 384x128; another one is
    that size at some stride, or else the grid nearest to its shape.
    """
    if math.isqrt(patches) ** 2 == patches:
        return OFFICIAL_SIZE, None
    for stride in range(patch, 0, -1):
        if math.prod(count_patches(OFFICIAL_SIZE, patch, stride)) == patches:
            return OFFICIAL_SIZE, None if stride == patch else stride
    rows, columns = guess_grid(patches, OFFICIAL_SIZE)
    return (rows * patch, columns * patch), None


def _build(experiment: Experiment, setting: Setting) -> System:
    system, model = systems.SYSTEMS[experiment.system.name], experiment.model
    if not isinstance(model.options, system.ModelOptions):
        fitting = [name for name, kind in systems.MODELS.items() if issubclass(kind, system.ModelOptions)]
        raise ConfigError(
            f"model.name={model.name} does not fit system.name={experiment.system.name}; "
            f"set model.name={' or '.join(fitting)}"
        )
    setting = replace(setting, captions_per_image=experiment.data.captions_per_image)
    return system(experiment.system.options, model.options, setting)  # type: ignore[call-arg]


def _fit(system: System, checkpoint: Checkpoint, minimum_share: float) -> LoadReport:
    grid, state = None, checkpoint.state
    if checkpoint.config is None:
        state = system.from_official(state)
    else:
        grid = _read_grid(checkpoint)
    return fit_state(system, state, minimum_share=minimum_share, grid=grid, source=str(checkpoint.path))


def _read_grid(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Rows and columns of patches of a checkpoint of ours, whose number alone may mean several shapes."""
    config = checkpoint.config or {}
    model = {key: value for key, value in config["model"].items() if key != "name"}
    if systems.MODELS.get(config["model"]["name"]) is not ClipOptions:
        return None
    try:
        options = build_options(ClipOptions, model, systems.TABLES, "model")
    except ConfigError as error:
        raise _unreadable(checkpoint, error) from None
    patch = find_architecture(options.architecture).image.patch
    height, width = config["data"]["image_size"]
    return count_patches((height, width), patch, options.stride or patch)


def _unreadable(checkpoint: Checkpoint, error: ConfigError) -> CheckpointError:
    return CheckpointError(f"{checkpoint.path}: its configuration is not for this version ({error})")


def _read_setting(checkpoint: Checkpoint, experiment: Experiment) -> Setting:
    stored = checkpoint.setting or {}
    classifiers = {name: value for name, value in checkpoint.state.items() if CLASSIFIER.fullmatch(name)}
    identities = next((len(weight) for weight in classifiers.values()), None)
    return Setting(
        image_size=experiment.data.image_size,
        text_length=experiment.data.text_length,
        identities=stored.get("identities", identities),
        captions=stored.get("captions", 0),
    )


def _warn_of_activation(checkpoint: Checkpoint) -> None:
    """Every published person search system and OpenAI use QuickGELU; a bare open_clip file does not tell."""
    names = checkpoint.state.keys()
    is_certain = (
        checkpoint.kind == "torchscript" or names >= OPENAI_NAMES or any(TOWERS in name for name in names)
    )
    if not is_certain:
        logger.warning(
            "%s: the file does not tell its activation; QuickGELU is taken, as in OpenAI's CLIP; "
            "weights trained with GELU (LAION's) need model.architecture=NAME without -quickgelu",
            checkpoint.path,
        )
