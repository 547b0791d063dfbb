"""Parameter groups from a system's rules, the table of optimisers, and a step that leaves out bad updates.

Few groups and a fused update: one group per tensor costs hundreds of times as many kernel launches.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.optim import Adan
from torch import nn

from tpr.config.schema import OptimOptions
from tpr.systems.base import GroupRule, System

Groups = list[dict[str, Any]]


def group_parameters(system: System, optim: OptimOptions) -> Groups:
    """Trainable parameters by equal rate and decay, for torch's optimisers.

    The first rule of `system.parameter_groups` whose pattern is found in a name decides. Each group also
    keeps `base_lr`, the rate that the schedule multiplies, and `names`.
    """
    rules = system.parameter_groups(optim)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in system.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = next((rule for rule in rules if re.search(rule.pattern, name)), GroupRule(pattern=""))
        lr, weight_decay = optim.lr * rule.lr, optim.weight_decay * rule.weight_decay
        group = groups.setdefault(
            (lr, weight_decay),
            {"params": [], "names": [], "lr": lr, "base_lr": lr, "weight_decay": weight_decay},
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def build_optimizer(system: System, optim: OptimOptions) -> torch.optim.Optimizer:
    """The optimiser of the options over the system's parameter groups."""
    return OPTIMIZERS[optim.name].build(group_parameters(system, optim), optim)


def build_adam(cls: type[torch.optim.Adam], groups: Groups, optim: OptimOptions) -> torch.optim.Optimizer:
    """Adam, or AdamW, which decays the weights."""
    first, second = optim.betas
    return cls(groups, lr=optim.lr, betas=(first, second), eps=optim.eps, fused=True)


def build_sgd(groups: Groups, optim: OptimOptions) -> torch.optim.Optimizer:
    """Gradient descent with momentum."""
    momentum = optim.betas[0]
    optimizer = torch.optim.SGD(groups, lr=optim.lr, momentum=momentum, fused=True)
    if momentum:
        # Torch allocates these at the first step and fills them only if that step is not skipped.
        for group in groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def build_adan(groups: Groups, optim: OptimOptions) -> torch.optim.Optimizer:
    """Adan in its proximal form."""
    adan: torch.optim.Optimizer = Adan(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps)
    return adan


class OptimizerEntry(NamedTuple):
    """How an optimiser is built, and what a stored one must hold."""

    build: Callable[[Groups, OptimOptions], torch.optim.Optimizer]
    cls: type[torch.optim.Optimizer]
    state: frozenset[str]
    """Tensors for every parameter that was updated."""
    counters: frozenset[str] = frozenset()
    """Whole numbers that every group counts on the host."""


ADAM_STATE = frozenset({"step", "exp_avg", "exp_avg_sq"})
ADAN_STATE = frozenset({"exp_avg", "exp_avg_sq", "exp_avg_diff", "neg_pre_grad"})
OPTIMIZERS = {
    "adam": OptimizerEntry(partial(build_adam, torch.optim.Adam), torch.optim.Adam, ADAM_STATE),
    "adamw": OptimizerEntry(partial(build_adam, torch.optim.AdamW), torch.optim.AdamW, ADAM_STATE),
    "sgd": OptimizerEntry(build_sgd, torch.optim.SGD, frozenset({"momentum_buffer"})),
    "adan": OptimizerEntry(build_adan, Adan, ADAN_STATE, frozenset({"step"})),
}
"""Every `optim.name`."""


def find_entry(optimizer: torch.optim.Optimizer) -> OptimizerEntry:
    """The table's entry of an optimiser that it built."""
    return next(entry for entry in OPTIMIZERS.values() if type(optimizer) is entry.cls)


def step_unless(bad: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One update, or none where `bad` is 1: then parameters and state stay as they are.

    bad: a scalar on the device, the same on every rank. Fused optimisers read it there. Others count steps
    on the host, so the host waits for the backward pass, once a step, as torch's own loss scaling does.
    """
    if optimizer.defaults.get("fused"):
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        optimizer.step()
    elif not bool(bad):
        optimizer.step()


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` times its own base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def gradient_norm(system: nn.Module) -> torch.Tensor:
    """Norm over all gradients, a scalar on the device; not finite when any gradient is not."""
    gradients = [parameter.grad for parameter in system.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
