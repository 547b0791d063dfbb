"""Parts of a ResNet of any width: stem, stages of torchvision's bottleneck blocks, pooling."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

SMALLEST_ACTIVATION = 1e-6
EXPANSION = 4
"""Columns that leave a block over those within it."""


class Stem(nn.Module):
    """(B, 3, H, W) images -> (B, width, H / 4, W / 4): convolution, norm and max-pool."""

    def __init__(self, width: int, *, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        """Maps of one modality."""
        states = self.norm(self.conv(images.to(self.conv.weight.dtype)))
        return F.max_pool2d(F.relu(states) if self.relu else states, 3, stride=2, padding=1)


class GeneralisedMean(nn.Module):
    """(B, D, h, w) maps -> (B, D), the mean of p-th powers and its p-th root, with p learned.

    Source: Radenovic et al., TPAMI 2019; as in AGW, values below 1e-6 count as 1e-6.
    """

    def __init__(self, exponent: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([exponent]))

    def forward(self, maps: Tensor) -> Tensor:
        """float32, or float64 where the maps are."""
        wide = maps if maps.dtype == torch.float64 else maps.float()
        pooled: Tensor = wide.clamp(min=SMALLEST_ACTIVATION).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)
        return pooled


def build_stages(width: int, blocks: Sequence[int]) -> nn.Sequential:
    """(B, width, h, w) -> (B, 8 * EXPANSION * width, h / 4, w / 4): four stages, the last at stride 1."""
    stages, entering = [], width
    for number, (count, stride) in enumerate(zip(blocks, (1, 2, 2, 1), strict=True)):
        inner = width * 2**number
        shortcut = nn.Sequential(
            nn.Conv2d(entering, EXPANSION * inner, 1, stride=stride, bias=False),
            nn.BatchNorm2d(EXPANSION * inner),
        )
        first = Bottleneck(entering, inner, stride, shortcut)
        entering = EXPANSION * inner
        stages.append(nn.Sequential(first, *(Bottleneck(entering, inner) for _ in range(count - 1))))
    return nn.Sequential(*stages)


@torch.no_grad()
def draw_convolutions(module: nn.Module) -> None:
    """Fresh weights of all convolutions, as torchvision draws them."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def rename_resnet(state: Mapping[str, Tensor], stems: Sequence[str]) -> dict[str, Tensor]:
    """A state in torchvision's names under those of a trunk with several stems, each with the same weights.

    The classifier is left behind.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        first, _, rest = name.partition(".")
        if first in ("conv1", "bn1"):
            part = "conv" if first == "conv1" else "norm"
            renamed |= {f"{stem}.{part}.{rest}": value for stem in stems}
        elif first.startswith("layer"):
            renamed[f"stages.{int(first.removeprefix('layer')) - 1}.{rest}"] = value
    return renamed
