"""Where and in which arithmetic the towers compute; weights are float32 throughout."""

import logging
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from tpr import distributed
from tpr.config.schema import RuntimeOptions
from tpr.errors import ConfigError

logger = logging.getLogger(__name__)

PrecisionName = Literal["float32", "bf16", "fp16"]


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a run on its device."""

    name: PrecisionName
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which the towers run."""
        if self.name == "float32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)

    def build_scaler(self) -> torch.amp.GradScaler | None:
        """Loss scaling, which float16 alone needs."""
        return torch.amp.GradScaler(self.device.type) if self.name == "fp16" else None


def choose_device(runtime: RuntimeOptions) -> torch.device:
    """The device of this process; several processes on one machine take one GPU each."""
    if runtime.device == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", distributed.local_rank() % torch.cuda.device_count())
    if runtime.device == "cuda":
        raise ConfigError(
            "runtime.device=cuda, but torch sees no GPU; check the driver, or set runtime.device=cpu"
        )
    if shutil.which("nvidia-smi"):
        logger.warning("nvidia-smi is here but torch sees no GPU (old driver?): computing on the CPU")
    return torch.device("cpu")


def choose_precision(runtime: RuntimeOptions, device: torch.device) -> Precision:
    """What `runtime.precision` means on this device; says so where it is a fallback."""
    name = runtime.precision
    if name == "float32" and device.type == "cuda":
        # Torch lets convolutions round their inputs to ten bits unless it is told not to.
        torch.backends.cudnn.allow_tf32 = False
    if name != "auto":
        return Precision(name, device)
    if device.type == "cpu":
        return Precision("float32", device)
    if torch.cuda.get_device_capability(device) >= (8, 0):
        return Precision("bf16", device)
    logger.info("this GPU has no bf16 in hardware: computing in fp16 with loss scaling")
    return Precision("fp16", device)
