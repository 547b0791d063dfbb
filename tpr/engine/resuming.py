"""A checkpoint that a run goes on from must be its own: what is compared, and how a difference is told."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tpr.config.changeable import drop_changeable, find_differences
from tpr.config.messages import show_value
from tpr.config.schema import Experiment
from tpr.config.typed import build_experiment, fill_protocols, to_tree
from tpr.engine.checkpoint import read_checkpoint_file
from tpr.engine.optim import find_entry
from tpr.errors import CheckpointError, ConfigError
from tpr.models.fitting import all_finite
from tpr.systems import TABLES
from tpr.systems.base import System

Kinds = Mapping[str, tuple[type, ...]]
KINDS: Kinds = {
    "model": (dict,),
    "config": (dict,),
    "setting": (dict,),
    "optimizer": (dict,),
    "tables": (dict,),
    "epoch": (int,),
    "step": (int,),
    "best": (int, float, type(None)),
    "best_epoch": (int,),
}
"""What every last.pt holds, whatever its version; entries that came later are looked at where they are."""
ONLY_IN_LAST = {"optimizer", "tables"}
UPDATED = "updated"
"""How many parameters have running means: entry of a stored optimiser that older versions do not write."""
SHOWN = 3


def check_own(
    state: Mapping[str, Any],
    path: Path,
    experiment: Experiment,
    system: System,
    *,
    steps_per_epoch: int,
    precision: str,
) -> None:
    """Refuse a state that is not one of this run. Raises CheckpointError, which says what differs."""
    problem = (
        find_gaps(state)
        or find_odd_best(state)
        or compare_config(state["config"], experiment)
        or compare_setting(state["setting"], system)
        or find_misplacement(state, experiment.schedule.epochs, steps_per_epoch)
        or compare_tensors(state["model"], system.state_dict(), "weights")
        or compare_tensors(state["tables"], dict.fromkeys(system.tables), "tables")
    )
    if problem:
        raise refuse(path, problem)
    # Before a state said so, it was not looked at.
    if (computed := state.get("precision", precision)) != precision:
        raise CheckpointError(
            f"{path}: computed in {computed}, while runtime.precision={experiment.runtime.precision} means "
            f"{precision} on this device; go on where it means {computed}, or start another run with "
            f"runtime.precision={precision}"
        )


def refuse(path: Path, problem: str) -> CheckpointError:
    """The one line for a state that a run cannot go on from."""
    return CheckpointError(
        f"{path}: not a state that this run can go on from: {problem}; put the right file back, or remove it "
        "to start this run anew"
    )


def read_best(path: Path, system: System) -> dict[str, Any]:
    """The best.pt of a run. Raises CheckpointError where it is none of this system."""
    state = read_checkpoint_file(path)
    kinds = {name: kinds for name, kinds in KINDS.items() if name not in ONLY_IN_LAST}
    problem = (
        find_gaps(state, kinds)
        or find_odd_best(state)
        or compare_tensors(state["model"], system.state_dict(), "weights")
    )
    if problem:
        raise CheckpointError(
            f"{path}: not the best state of this run: {problem}; put the right file back, or start the run "
            "anew with runtime.resume=never"
        )
    return state


def find_gaps(state: Mapping[str, Any], kinds: Kinds = KINDS) -> str:
    """Entries that are missing or of another type."""
    missing = [name for name in kinds if name not in state]
    if missing and set(missing) <= ONLY_IN_LAST <= kinds.keys():
        return f"it holds no {' and no '.join(missing)}, as a best.pt does not"
    if missing:
        return f"it lacks {list_some(missing)}"
    odd = [
        name
        for name, wanted in kinds.items()
        if not isinstance(state[name], wanted) or isinstance(state[name], bool)
    ]
    return f"{list_some(odd)} of another type than expected" if odd else ""


def find_odd_best(state: Mapping[str, Any]) -> str:
    """A best score that is none, or one of an epoch that the state has not seen."""
    best, found, epoch = state["best"], state["best_epoch"], state["epoch"]
    if best is None:
        return "" if found == 0 else f"best_epoch is {found}, but there is no best score"
    if not abs(best) < math.inf:
        return f"best is {best}, which is no score"
    return "" if 1 <= found <= epoch else f"best_epoch is {found}, while it stands at epoch {epoch}"


def compare_config(stored: Mapping[str, Any], experiment: Experiment) -> str:
    """Options that make another run."""
    try:
        found = build_experiment(stored, TABLES)
    except ConfigError as error:
        return f"its configuration is not for this version ({error})"
    stored, own = (
        drop_changeable(to_tree(each), Experiment) for each in (found, fill_protocols(experiment, TABLES))
    )
    return list_some(find_differences(stored, own))


def compare_setting(stored: Mapping[str, Any], system: System) -> str:
    """Sizes of the training set and of the input, which the data decide."""
    differences = find_differences(dict(stored), asdict(system.setting))
    return f"the training set is another: {list_some(differences)}" if differences else ""


def find_misplacement(state: Mapping[str, Any], epochs: int, steps_per_epoch: int) -> str:
    """A position outside of the run, or one whose parts do not agree."""
    epoch, step = state["epoch"], state["step"]
    if 1 <= epoch <= epochs + 1 and (epoch - 1) * steps_per_epoch <= step <= epoch * steps_per_epoch:
        return "" if step <= epochs * steps_per_epoch else f"step {step} lies behind the last one"
    return f"it stands at epoch {epoch}, step {step}; this run has {epochs} epochs of {steps_per_epoch} steps"


def compare_tensors(stored: Mapping[str, Any], own: Mapping[str, Any], what: str) -> str:
    """Names, shapes and values of tensors; of `own` that are None only the names count."""
    missing, left = [name for name in own if name not in stored], [name for name in stored if name not in own]
    if missing or left:
        parts = [f"lacks {list_some(missing)}"] * bool(missing) + [f"has also {list_some(left)}"] * bool(left)
        return f"{what}: it {' and '.join(parts)}"
    for name, value in own.items():
        if value is None and stored[name] is None:
            continue
        if not isinstance(stored[name], Tensor):
            return f"{what}: '{name}' is no tensor"
        if value is not None and (stored[name].shape, stored[name].dtype) != (value.shape, value.dtype):
            found, wanted = (f"{list(each.shape)} {each.dtype}" for each in (stored[name], value))
            return f"{what}: '{name}' is {found} and not {wanted}"
    unsound = find_unsound(stored)
    return f"{what}: '{unsound}' is not finite" if unsound and what == "weights" else ""


def find_unsound(state: Mapping[str, Any]) -> str | None:
    """The first tensor with a value that is not finite; None where all are sound. The host waits once."""
    named = {
        name: value
        for name, value in state.items()
        if torch.is_tensor(value) and value.is_floating_point() and value.numel()
    }
    if not named:
        return None
    sound = torch.stack([all_finite(value) for value in named.values()]).tolist()
    return next((name for name, is_sound in zip(named, sound, strict=True) if not is_sound), None)


def describe_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state as a checkpoint holds it."""
    return optimizer.state_dict() | {UPDATED: len(optimizer.state)}


def load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any], path: Path) -> None:
    """Take over a stored optimiser state. Raises CheckpointError where it is not one of this optimiser."""
    groups, moments = stored.get("param_groups"), stored.get("state")
    problem = compare_groups(groups, optimizer) or compare_moments(moments, optimizer)
    problem = problem or find_lost(stored) or (find_uncounted(stored, optimizer) if moments else "")
    if problem:
        raise refuse(path, f"optimizer: {problem}")
    with reading(path, "optimizer"):
        optimizer.load_state_dict(dict(stored))


def compare_groups(stored: Any, optimizer: torch.optim.Optimizer) -> str:
    """Groups of other parameters, or with other rates."""
    own = optimizer.state_dict()["param_groups"]
    if (
        not isinstance(stored, list)
        or len(stored) != len(own)
        or not all(isinstance(g, dict) for g in stored)
    ):
        return f"expected {len(own)} groups of parameters"
    # The rate of now is set anew before every step, and steps are counted on.
    moving = {"lr", *find_entry(optimizer).counters}
    for index, (found, wanted) in enumerate(zip(stored, own, strict=True)):
        # Keys that another version of torch adds are left out.
        compared = [name for name in wanted if name in found or name in ("params", "base_lr")]
        names = [name for name in compared if name not in moving]
        differences = find_differences({n: found.get(n) for n in names}, {n: wanted[n] for n in names})
        if differences:
            return f"group {index}: {list_some(differences)}"
    return ""


def compare_moments(stored: Any, optimizer: torch.optim.Optimizer) -> str:
    """Running means that are missing or do not fit their parameters."""
    if not isinstance(stored, dict):
        return "it lacks its running means"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wanted = find_entry(optimizer).state
    for index, entry in stored.items():
        if index not in range(len(parameters)):
            return f"it has a parameter {index} of {len(parameters)}"
        if not isinstance(entry, dict) or not wanted <= entry.keys():
            return f"parameter {index} lacks {list_some(sorted(wanted - set(entry)))}"
        shapes = (parameters[index].shape, torch.Size([]))
        if not all(isinstance(entry[name], Tensor) and entry[name].shape in shapes for name in wanted):
            return f"parameter {index} has running means of another shape"
    return ""


def find_lost(stored: Mapping[str, Any]) -> str:
    """Parameters that were updated and have no running means."""
    found = len(stored["state"])
    updated = stored.get(UPDATED, found)
    if updated == found:
        return ""
    return f"it has running means of {found} parameters, but {show_value(updated)} were updated"


def find_uncounted(stored: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> str:
    """A group of an optimiser with running means that lacks its count of steps."""
    for index, group in enumerate(stored["param_groups"]):
        for name in sorted(find_entry(optimizer).counters):
            count = group.get(name)
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                return f"group {index}: {name} is {show_value(count)} and not a count"
    return ""


def list_some(names: list[str]) -> str:
    """The first few of a list."""
    return ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Tell in one line what goes wrong when a part of a state is taken over."""
    try:
        yield
    except CheckpointError as error:
        raise refuse(path, f"{what}: {error}") from None
    except KeyError as error:
        raise refuse(path, f"{what}: {show_value(error.args[0])} is missing") from error
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise refuse(path, f"{what}: not of the form that this version writes") from error
