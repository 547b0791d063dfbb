"""How a step calls its system: compiled, and over several processes."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tpr import distributed
from tpr.systems.base import System


def wrap_model(system: System, device: torch.device, *, compiled: bool) -> nn.Module:
    """The system as it is called in a step: compiled if asked, in DDP with several processes."""
    model: nn.Module = system
    if distributed.world_size() > 1:
        if device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        ids = [device.index] if device.type == "cuda" else None
        model = DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    return torch.compile(model) if compiled else model  # type: ignore[return-value]
