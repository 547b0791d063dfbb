"""The published optimiser: Adam with one parameter group per tensor."""

import torch
from torch import nn


def build_adam(model: nn.Module, lr: float = 1e-5) -> torch.optim.Adam:
    """Later rules win: cross x5, bias x2 without decay, classifier and masked-word head x5; eps 1e-3."""
    groups = []
    for name, parameter in model.named_parameters():
        rate, decay = lr, 4e-5
        if "cross" in name:
            rate = lr * 5
        if "bias" in name:
            rate, decay = lr * 2, 0.0
        if "classifier" in name or "mlm_head" in name:
            rate = lr * 5
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    return torch.optim.Adam(groups, lr=lr, betas=(0.9, 0.999), eps=1e-3)
