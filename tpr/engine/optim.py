"""Parameter groups from a system's rules, and the optimiser over them.

Few groups and a fused update: one group per tensor costs hundreds of times as many kernel launches.
"""

import re
from typing import Any

import torch
from torch import nn

from tpr.config.schema import OptimOptions
from tpr.systems.base import GroupRule, System


def group_parameters(system: System, optim: OptimOptions) -> list[dict[str, Any]]:
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
    """The fused optimiser of the options over the system's parameter groups."""
    groups = group_parameters(system, optim)
    if optim.name == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.betas[0], fused=True)
    kind = torch.optim.Adam if optim.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` times its own base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def gradient_norm(system: nn.Module) -> torch.Tensor:
    """Norm over all gradients, a scalar on the device; not finite when any gradient is not."""
    gradients = [parameter.grad for parameter in system.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
