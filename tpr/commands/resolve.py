"""From a command line to an Experiment: config file, overrides, and what a checkpoint adds."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tpr.commands.arguments import type_word
from tpr.config.messages import guess
from tpr.config.places import forget_places
from tpr.config.ranges import Seed
from tpr.config.reader import COMMAND_LINE, read_stored_tree, read_tree
from tpr.config.resolved import dump_yaml, plain_value
from tpr.config.scalars import convert_scalar
from tpr.config.schema import Experiment, RuntimeOptions
from tpr.config.typed import build_experiment
from tpr.errors import ConfigError
from tpr.models.weights import read_checkpoint
from tpr.systems import TABLES, read_experiment_of

CONFIGS = Path(__file__).parents[2] / "configs"
SHARED_BY_STAGES = re.compile(r"(model|data|runtime|report)[.=]")
"""Words of a command line that hold for a run that is trained first as well."""


def resolve_experiment(arguments: Sequence[str], finetune: Path | None = None) -> Experiment:
    """The run that `[CONFIG] [key=value ...] [--finetune CHECKPOINT]` asks for."""
    config, overrides = split_arguments(arguments)
    if config is None:
        config, architecture = choose_finetune_config(finetune)
        overrides = [*architecture, *overrides]
    tree = read_tree(config, overrides)
    experiment = build_experiment(tree, TABLES)
    recipe = experiment.report.finetune
    if recipe is not None and find_shipped(recipe) is None:
        near = guess(recipe, list_recipes())
        raise ConfigError(f"report.finetune='{recipe}' is no shipped recipe{near}; `ls configs/*` shows them")
    if finetune is not None:
        # Not as an override: YAML cannot say every letter that a path may have.
        experiment = replace(experiment, init=replace(experiment.init, checkpoint=finetune))
    first = experiment.init.config
    if first is not None and tree.origins.get("init.config") != COMMAND_LINE:
        experiment = replace(experiment, init=replace(experiment.init, config=config.parent / first))
    return replace(experiment, name=experiment.name or f"{config.resolve().parent.name}-{config.stem}")


def resolve_first(experiment: Experiment, arguments: Sequence[str]) -> Experiment | None:
    """The run that `init.config` wants trained before this one; None: this run starts by itself.

    What the command line says of model, data, runtime and report applies to it as well, and so does the
    seed. A checkpoint that is named, as by `--finetune`, makes it superfluous.
    Raises ConfigError where that run wants another one first.
    """
    config = experiment.init.config
    if config is None or experiment.init.checkpoint is not None:
        return None
    shared = [word for word in split_arguments(arguments)[1] if SHARED_BY_STAGES.match(word)]
    first = resolve_experiment([str(config), *shared, f"seed={experiment.seed}"])
    if first.init.config is not None:
        raise ConfigError(
            f"init.config={config}: a run that is trained first must start by itself, but this one names "
            f"init.config={first.init.config}; train it and name its best.pt with init.checkpoint"
        )
    return first


def spread_over_seeds(experiment: Experiment, seeds: str, arguments: Sequence[str]) -> list[Experiment]:
    """The run once per seed of `--seeds`, as `<name>-seed<N>`; arguments: the words of the command line."""
    if any(re.match(r"seed\s*=", word) for word in arguments):
        raise ConfigError(f"--seeds {seeds} and seed=: both set the seed; leave one of them out")
    words = [word.strip() for word in seeds.split(",")]
    for position, word in enumerate(words):
        if not re.fullmatch(r"[0-9]{1,19}", word):
            found = f"{word!r}" if word else "nothing between two commas" if len(words) > 1 else "nothing"
            raise ConfigError(
                f"--seeds {seeds}: expected whole numbers with commas, such as 1,2,3; got {found}"
            )
        if int(word) in map(int, words[:position]):
            raise ConfigError(f"--seeds {seeds}: {int(word)} is repeated; name each seed once")
    try:
        numbers = [convert_scalar(word, Seed) for word in words]
    except ValueError as error:
        raise ConfigError(f"--seeds {seeds}: {error}") from None
    return [replace(experiment, seed=seed, name=f"{experiment.name}-seed{seed}") for seed in numbers]


def resolve_checkpoint(checkpoint: Path, overrides: Sequence[str]) -> Experiment:
    """The run that made a checkpoint, or one that fits an official file, with overrides on top.

    A checkpoint may come from anyone: of its places only the data folder, which is read, is a default here,
    and of its machine only the arithmetic, which the numbers depend on.
    """
    experiment = forget_places(read_experiment_of(read_checkpoint(checkpoint)), kept=["data.root"])
    runtime = RuntimeOptions(precision=experiment.runtime.precision)
    stored = dump_yaml(replace(experiment, runtime=runtime))
    return build_experiment(read_stored_tree(stored, str(checkpoint), overrides), TABLES)


def split_arguments(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The config file, which comes first and has no `=`, and the overrides."""
    if arguments and not re.match(r"[A-Za-z_][\w.]*=", arguments[0]):
        return type_word(arguments[0], Path), list(arguments[1:])
    return None, list(arguments)


def choose_finetune_config(finetune: Path | None) -> tuple[Path, list[str]]:
    """Without a CONFIG: the recipe that the checkpoint's own recipe names, with its architecture."""
    if finetune is None:
        raise ConfigError(f"no CONFIG given; name one of {name_configs('*/*')}, or --finetune CHECKPOINT")
    checkpoint = read_checkpoint(finetune)
    stored = None if checkpoint.config is None else read_experiment_of(checkpoint)
    found = "names no recipe for it (report.finetune)"
    if stored is not None and (recipe := stored.report.finetune) is not None:
        if (shipped := find_shipped(recipe)) is not None:
            return shipped, copy_architecture(stored)
        found = f"names '{recipe}', which is not shipped here"
    raise ConfigError(
        f"--finetune {finetune}: this checkpoint {found}, so a CONFIG must say what "
        f"to fine-tune on; choose one of {name_configs('*/finetune*')}, {name_configs('irra/*')}"
    )


def find_shipped(name: str) -> Path | None:
    """The shipped recipe of a name such as drawn/finetune; None where there is none."""
    return list_recipes().get(name)


def list_recipes() -> dict[str, Path]:
    """Shipped recipes by folder and stem."""
    paths = (path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "shared")
    return {f"{path.parent.name}/{path.stem}": path for path in paths}


def copy_architecture(stored: Experiment) -> list[str]:
    """A checkpoint's towers, input and data folder, which is only read, as overrides."""
    architecture: dict[str, Any] = {
        "model": plain_value(stored.model) | {"weights": None},
        "data.root": str(stored.data.root),
        "data.image_size": stored.data.image_size,
        "data.text_length": stored.data.text_length,
    }
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in architecture.items()]


def name_configs(pattern: str) -> str:
    """The recipes whose path fits, as a person types them."""
    found = (path.relative_to(CONFIGS) for path in CONFIGS.glob(f"{pattern}.yaml"))
    return ", ".join(sorted(f"configs/{path.as_posix()}" for path in found if path.parts[0] != "shared"))
