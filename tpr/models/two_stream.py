"""A ResNet with two entrances: a stem for visible and one for infrared images, and a trunk they share."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tpr.data.images.chains import ImageChain, Interpolation, Statistics, name_chain
from tpr.data.text.tokenizer import Tokenizer
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.models.architecture import Layers, TextArchitecture, Width, read_text_architecture
from tpr.models.clip import ClipOptions
from tpr.models.clip_names import rename_hugging_face
from tpr.models.download import find_imagenet, find_weights
from tpr.models.fitting import fit_state
from tpr.models.resnet import EXPANSION, Stem, build_stages, draw_convolutions, rename_resnet
from tpr.models.text_tower import TextTower
from tpr.models.weights import read_checkpoint

logger = logging.getLogger(__name__)

STEMS = ("visible", "infrared")
TEXT_SOURCE = "RN50-quickgelu"
"""The CLIP whose text tower it is, by open_clip's name."""


@dataclass(frozen=True, kw_only=True)
class TwoStreamOptions:
    """A two-stream ResNet and its text tower; the defaults are ResNet-50 and CLIP RN50's tower."""

    layers: tuple[Layers, Layers, Layers, Layers] = (3, 4, 6, 3)
    """Bottleneck blocks of the four stages."""
    width: Width = 64
    """Columns behind the stems; images have 32 times as many features."""
    stem_relu: bool = False
    """ReLU behind the stems' norms, as in AGW and CAJ; TVI-LFM has none."""
    weights: str | None = None
    """The tag imagenet (torchvision's V1), or a file in torchvision's names; absent: random weights."""
    text: TextArchitecture = field(default_factory=TextArchitecture)
    """Sizes of the text tower; its output is as wide as an image's features."""
    quick_gelu: bool = True
    """The text tower has OpenAI's x * sigmoid(1.702 x) in place of the exact GELU."""
    text_weights: str | None = None
    """A tag of open_clip's RN50 such as openai, or a CLIP file, stretched to fit; absent: random weights."""
    interpolation: Interpolation = "lanczos"
    """Filter that resizes images; lanczos as in every reader of the official code."""
    statistics: Statistics = "imagenet"
    """Channel mean and deviation that images are normalised by."""

    @property
    def chain(self) -> ImageChain:
        """How the visual tower takes images."""
        return name_chain(self.interpolation, self.statistics)

    def find_grid(self, image_size: tuple[int, int]) -> None:
        """No positions are learned, so no shape of them needs to be known."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes ids of captions."""
        return CLIP_TOKENIZER


class TwoStream(nn.Module):
    """The visual tower; what leaves it is not pooled."""

    def __init__(self, options: TwoStreamOptions) -> None:
        super().__init__()
        self.options = options
        self.visible = Stem(options.width, relu=options.stem_relu)
        self.infrared = Stem(options.width, relu=options.stem_relu)
        self.stages = build_stages(options.width, options.layers)
        self.output = 2 ** (len(options.layers) - 1) * EXPANSION * options.width
        draw_convolutions(self)
        if options.width % 8 == 0:
            # A third less time for a step on a CPU, and what tensor cores read; at width 2 torch crashes.
            self.to(memory_format=torch.channels_last)

    def forward(self, visible: Tensor | None, infrared: Tensor | None) -> Tensor:
        """(V + I, D, h, w) maps of (V, 3, H, W) visible and (I, 3, H, W) infrared images, in this order.

        In training the shared norms take their statistics over both modalities.
        """
        entered = []
        if visible is not None:
            entered.append(self.visible(visible))
        if infrared is not None:
            entered.append(self.infrared(infrared))
        maps: Tensor = self.stages(torch.cat(entered))
        return maps


def load_imagenet(tower: TwoStream, weights: str, minimum_share: float) -> None:
    """Takes the weights of an image classifier, both stems the same; says what fitted."""
    path = find_imagenet(weights)
    state = rename_resnet(read_checkpoint(path).state, STEMS)
    report = fit_state(tower, state, minimum_share=minimum_share, source=str(path))
    logger.info("%s: %s", path, report.render())


def load_text(tower: TextTower, weights: str, minimum_share: float) -> None:
    """Takes the text half of a CLIP, its projection stretched; says what fitted."""
    path = find_weights(ClipOptions(architecture=TEXT_SOURCE, weights=weights), "model.text_weights")
    own = tower.state_dict()
    stored = rename_hugging_face(read_checkpoint(path).state)
    state = {name: value for name, value in stored.items() if name in own}
    report = fit_state(tower, state, minimum_share=minimum_share, source=str(path))
    logger.info("%s: %s", path, report.render())


def read_two_stream(visual: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> TwoStreamOptions:
    """The sizes behind the weights of a visual tower and of a text tower; text: may be empty."""
    blocks = {tuple(map(int, name.split(".")[1:3])) for name in visual if name.startswith("stages.")}
    stages = [stage for stage, _ in blocks]
    first, second, third, fourth = (stages.count(stage) for stage in range(4))
    return TwoStreamOptions(
        layers=(first, second, third, fourth),
        width=len(visual["visible.conv.weight"]),
        text=read_text_architecture(text) if text else TextArchitecture(),
    )
