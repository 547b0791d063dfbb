"""Systems from a configuration or from a checkpoint, ours or official."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from tpr.config.resolved import to_tree
from tpr.config.schema import Choice, Experiment, Named
from tpr.config.typed import build_experiment, build_options
from tpr.errors import CheckpointError, ConfigError, first_line
from tpr.models.fitting import LoadReport, fit_state
from tpr.models.weights import Checkpoint, read_checkpoint
from tpr.systems.base import Setting, System
from tpr.systems.official import Official
from tpr.systems.tables import MODELS, SYSTEMS, TABLES, UNMARKED

logger = logging.getLogger(__name__)


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
    """A checkpoint as a system in evaluation mode, ready to encode images and texts.

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
            f"{checkpoint}: a system of its sizes cannot be built ({first_line(error)})"
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
            return build_experiment(checkpoint.config, TABLES)
        except ConfigError as error:
            raise _unreadable(checkpoint, error) from None
    try:
        experiment = build_experiment(to_tree(_recognise_experiment(checkpoint)), TABLES)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from None
    except (ConfigError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its weights do not have the names and shapes of a system here ({error})"
        ) from None
    doubt = SYSTEMS[experiment.system.name].official.find_doubt(checkpoint)
    if doubt is not None:
        logger.warning("%s: %s", checkpoint.path, doubt)
    return experiment


def _recognise_experiment(checkpoint: Checkpoint) -> Experiment:
    name = recognise_official(checkpoint.state)
    official = SYSTEMS[name].official
    state = official.rename(checkpoint.state)
    options = official.options(state)
    model, data = official.model(state)
    return Experiment(system=Choice(name, options), model=model, data=data)


def recognise_official(stored: Mapping[str, Tensor]) -> str:
    """Name of the system that an official file's weights are of, by marks that only its files have."""
    found = sorted(name for name, system in SYSTEMS.items() if system.official.recognise(stored))
    if len(found) > 1:
        raise CheckpointError(f"has the marks of several systems: {', '.join(found)}")
    return found[0] if found else UNMARKED


def _build(experiment: Experiment, setting: Setting) -> System:
    system, model = SYSTEMS[experiment.system.name], experiment.model
    if not isinstance(model.options, system.ModelOptions):
        fitting = [name for name, kind in MODELS.items() if issubclass(kind, system.ModelOptions)]
        raise ConfigError(
            f"model.name={model.name} does not fit system.name={experiment.system.name}; "
            f"set model.name={' or '.join(fitting)}"
        )
    setting = replace(setting, captions_per_image=experiment.data.captions_per_image)
    return system(experiment.system.options, model.options, setting)  # type: ignore[call-arg]


def _fit(system: System, checkpoint: Checkpoint, minimum_share: float) -> LoadReport:
    state = _name_as_ours(system.official, checkpoint)
    grid = None if checkpoint.config is None else _read_grid(checkpoint)
    return fit_state(system, state, minimum_share=minimum_share, grid=grid, source=str(checkpoint.path))


def _name_as_ours(official: Official, checkpoint: Checkpoint) -> dict[str, Tensor]:
    return checkpoint.state if checkpoint.config is not None else official.rename(checkpoint.state)


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
        stored = build_options(_StoredInput, values, TABLES)
        grid: tuple[int, int] | None = stored.model.options.find_grid(stored.image_size)
        return grid
    except ConfigError as error:
        raise _unreadable(checkpoint, error) from None


def _unreadable(checkpoint: Checkpoint, error: ConfigError) -> CheckpointError:
    return CheckpointError(f"{checkpoint.path}: its configuration is not for this version ({error})")


def _read_setting(checkpoint: Checkpoint, experiment: Experiment) -> Setting:
    official = SYSTEMS[experiment.system.name].official
    sizes: dict[str, Any] = {
        "image_size": experiment.data.image_size,
        "text_length": experiment.data.text_length,
        "identities": official.identities(_name_as_ours(official, checkpoint)),
        "captions": 0,
    }
    stored = checkpoint.setting or {}
    sizes |= {name: stored[name] for name in ("identities", "captions") if name in stored}
    try:
        return build_options(Setting, sizes, TABLES, "setting")
    except ConfigError as error:
        raise _unreadable(checkpoint, error) from None
