"""Systems from a configuration or from a checkpoint, ours or official."""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from tpr import systems
from tpr.config.resolved import to_tree
from tpr.config.schema import Choice, DataOptions, Experiment, Named
from tpr.config.typed import build_experiment, build_options
from tpr.errors import CheckpointError, ConfigError
from tpr.models.architecture import find_architecture, read_architecture
from tpr.models.clip import ClipOptions, count_patches
from tpr.models.fitting import LoadReport, fit_state
from tpr.models.positions import guess_grid
from tpr.models.weights import Checkpoint, read_checkpoint
from tpr.systems.base import Setting, System
from tpr.systems.dual_encoder import TOWERS, take_towers

logger = logging.getLogger(__name__)

OFFICIAL_SIZE = (384, 128)
"""Input of every published system that shares IRRA's layout."""
CLASSIFIER = re.compile(r"classifier\.(classifier\.)?weight")
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
    setting = _read_setting(content, experiment)
    try:
        system = _build(experiment, setting)
    except (RuntimeError, MemoryError, ArithmeticError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint}: a system of its sizes cannot be built ({str(error).partition(chr(10))[0]})"
        ) from None
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
    try:
        experiment = build_experiment(to_tree(_recognise_experiment(checkpoint)), systems.TABLES)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from None
    except (ConfigError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its weights do not have the names and shapes of a system here ({error})"
        ) from None
    if isinstance(experiment.model.options, ClipOptions):
        _warn_of_activation(checkpoint)
    return experiment


def _recognise_experiment(checkpoint: Checkpoint) -> Experiment:
    name, options, state = recognise_official(checkpoint.state)
    found = systems.SYSTEMS[name].read_model(state)
    if found is not None:
        return Experiment(system=Choice(name, options), model=found[0], data=found[1])
    towers = take_towers(state)
    sizes = read_architecture(towers, quick_gelu=True)
    patches = len(towers["visual.positional_embedding"]) - 1
    image_size, stride = find_input(patches, sizes.image.patch)
    return Experiment(
        system=Choice(name, options),
        model=Choice("clip", ClipOptions(architecture=sizes, stride=stride)),
        data=DataOptions(image_size=image_size, text_length=sizes.text.context),
    )


def recognise_official(stored: Mapping[str, Tensor]) -> tuple[str, Any, dict[str, Tensor]]:
    """Name and options of the system that an official file's weights are of, and the weights in our names."""
    for name, system in systems.SYSTEMS.items():
        state = system.from_official(stored)
        if (options := system.read_options(state)) is not None:
            return name, options, state
    raise CheckpointError(f"of no system here; known: {', '.join(systems.SYSTEMS)}")


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


@dataclass(frozen=True, kw_only=True)
class _StoredInput:
    """What of a stored configuration decides the number of patches."""

    model: Annotated[Choice, Named("model")]
    image_size: tuple[int, int]


def _read_grid(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Rows and columns of patches of a checkpoint of ours, whose number alone may mean several shapes."""
    config = checkpoint.config or {}
    data = config.get("data")
    image_size = data.get("image_size") if isinstance(data, Mapping) else None
    try:
        values = {"model": config.get("model"), "image_size": image_size}
        stored = build_options(_StoredInput, values, systems.TABLES)
        if not isinstance(stored.model.options, ClipOptions):
            return None
        patch = find_architecture(stored.model.options.architecture).image.patch
    except ConfigError as error:
        raise _unreadable(checkpoint, error) from None
    return count_patches(stored.image_size, patch, stored.model.options.stride or patch)


def _unreadable(checkpoint: Checkpoint, error: ConfigError) -> CheckpointError:
    return CheckpointError(f"{checkpoint.path}: its configuration is not for this version ({error})")


def _read_setting(checkpoint: Checkpoint, experiment: Experiment) -> Setting:
    classifiers = [value for name, value in checkpoint.state.items() if CLASSIFIER.fullmatch(name)]
    sizes: dict[str, Any] = {
        "image_size": experiment.data.image_size,
        "text_length": experiment.data.text_length,
        "identities": next((len(weight) for weight in classifiers if weight.dim() > 0), None),
        "captions": 0,
    }
    stored = checkpoint.setting or {}
    sizes |= {name: stored[name] for name in ("identities", "captions") if name in stored}
    try:
        return build_options(Setting, sizes, systems.TABLES, "setting")
    except ConfigError as error:
        raise _unreadable(checkpoint, error) from None


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
