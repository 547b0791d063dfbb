"""The contract between a retrieval system and everything around it.

A system names three classes (`Options`, `ModelOptions`, `official`), fills in two values when it is made
(`loss_weights`, `tables`), defines `features`, `losses` and `encode`, and overrides of the rest what it does
otherwise.

A system is an `nn.Module` whose `forward` is the training step, so DDP and `torch.compile` wrap it
unchanged. Nothing outside `tpr/systems` knows a system by name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, final

import torch
from PIL import Image
from torch import Tensor, nn

from tpr.config.schema import InitOptions, OptimOptions
from tpr.data.images.reader import load_image
from tpr.data.images.transforms import normalise_pixels
from tpr.data.samples.batch import Batch
from tpr.data.samples.sample_table import SampleTable
from tpr.data.samples.views import Views
from tpr.errors import DataError
from tpr.systems.official import Official

Side = Literal["image", "text", "infrared", "fused", "ensemble"]
"""What an item is encoded from. fused: an infrared image and its text; ensemble: all three together."""
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Facts about a run that shape a system: sizes of its input and of its training set."""

    image_size: tuple[int, int]
    """Height and width in pixels."""
    text_length: int
    """Token positions."""
    identities: int | None
    """Training identities, None where the training sets have none or nothing is trained."""
    captions: int
    """Training captions, the length of per-caption tables."""
    captions_per_image: int = 1
    """Captions of one image in a batch."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands; with a sample's number it decides every random draw."""

    seed: int
    epoch: int
    """Epoch from 1."""
    step: int
    """Steps taken before this one in the whole run."""


class Survey(Protocol):
    """Starts a pass over this process's share of the training set, in an order and with draws of its own."""

    def __call__(self, *, augment: bool = True) -> Iterator[Batch]:
        """augment: images as in training; otherwise resized only."""
        ...


@dataclass(frozen=True, kw_only=True)
class EpochContext:
    """What a system may use before an epoch."""

    progress: Progress
    """The epoch that is about to begin."""
    survey: Survey
    """A pass over the training set."""
    autocast: Callable[[], AbstractContextManager[object]]
    """The run's arithmetic."""


@dataclass(frozen=True)
class StepOutput:
    """What one training step returns: shares of this rank, which add up over ranks."""

    losses: Mapping[str, Tensor]
    """Weighted losses; their sum is minimised."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Values to report, never minimised."""


@dataclass(frozen=True, kw_only=True)
class GroupRule:
    """Rate and decay of the parameters whose name matches; the first rule that matches wins."""

    pattern: str
    """Regular expression searched in the parameter's name."""
    lr: float = 1.0
    """Multiplier of the base rate."""
    weight_decay: float = 1.0
    """Multiplier of the base decay."""


class System(nn.Module):
    """A method: what it needs from a sample, its losses, and how it encodes for retrieval."""

    Options: ClassVar[type[Any]]
    """Frozen dataclass of the system's settings."""
    ModelOptions: ClassVar[type[Any]] = object
    """Settings of the towers that it is built on."""
    official: ClassVar[Official] = Official()
    """What its authors' files look like."""

    def __init__(self, setting: Setting) -> None:
        """A system takes (options, model_options, setting) and passes the setting on to here."""
        super().__init__()
        self.setting = setting
        self.loss_weights: Mapping[str, float] = {}
        """What a step minimises: names of `StepOutput.losses` with their weights."""
        self.tables: Mapping[str, SampleTable] = {}
        """Numbers per training caption that are learned but are no weights; last.pt keeps them."""

    @classmethod
    def needs_identities(cls, options: Any) -> str | None:
        """What a user can do without person labels where a loss of these options needs them; None: none does.

        Asked before anything is built.
        """
        return None

    def load_published(self, init: InitOptions) -> None:
        """Takes over weights that the model's options name; `init.checkpoint` is read after them."""

    def views(self) -> Views:
        """Which tensors a sample becomes, and the order of samples in training."""
        return Views()

    @final  # type: ignore[misc]
    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """One training step's losses on this rank's part of the global batch."""
        return self.losses(self.features(batch, progress), batch, progress)

    def features(self, batch: Batch, progress: Progress) -> Any:
        """First half of the step: the towers."""
        raise TypeError(f"{type(self).__name__} must define features")

    def losses(self, features: Any, batch: Batch, progress: Progress) -> StepOutput:
        """Second half of the step: the objectives."""
        raise TypeError(f"{type(self).__name__} must define losses")

    def before_epoch(self, context: EpochContext) -> None:
        """Read the training set or refresh tables before an epoch; nothing by default.

        Every process calls it, and must leave it with the same tables. A run that is resumed within an
        epoch does not call it again: what it found must lie in `tables`.
        """

    def encode(self, batch: Batch, side: Side) -> Tensor:
        """(N, D) one unit vector per item; inner products are first-stage scores."""
        raise TypeError(f"{type(self).__name__} must define encode")

    def sides(self) -> tuple[Side, ...]:
        """What this system can encode."""
        return ("image", "text")

    def encode_queries(self, batch: Batch, sides: Sequence[Side]) -> dict[Side, Tensor]:
        """(N, D) of one batch for each of several sides; a system may share towers between them."""
        return {side: self.encode(batch, side) for side in sides}

    @final
    def encode_images(self, images: Sequence[Image.Image | Path | str], *, batch: int = 64) -> Tensor:
        """(N, D) unit vectors of opened images or of image files, on the CPU.

        Raises DataError naming a file that cannot be read.
        """
        chain = self.views().chain

        def prepare(part: Sequence[Image.Image | Path | str]) -> Batch:
            pixels = [chain.resize(load_image(image), self.setting.image_size) for image in part]
            whole = torch.stack(pixels).to(self.device)
            return Batch(images=normalise_pixels(whole, chain))

        return self._encode_parts(images, prepare, "image", batch)

    @final
    def encode_texts(self, texts: Sequence[str], *, batch: int = 256) -> Tensor:
        """(N, D) unit vectors of descriptions, on the CPU."""

        tokenizer = self.views().tokenizer

        def prepare(part: Sequence[str]) -> Batch:
            return Batch(tokens=tokenizer.tokenize(part, self.setting.text_length).to(self.device))

        return self._encode_parts(texts, prepare, "text", batch)

    @property
    @final
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.no_grad()
    def _encode_parts(
        self, items: Sequence[Item], prepare: Callable[[Sequence[Item]], Batch], side: Side, batch: int
    ) -> Tensor:
        if not items:
            raise DataError(f"nothing to encode: expected at least one {side}")
        was_training = self.training
        self.eval()
        parts = [items[start : start + batch] for start in range(0, len(items), batch)]
        encoded = [self.encode(prepare(part), side).cpu() for part in parts]
        self.train(was_training)
        return torch.cat(encoded)

    def parameter_groups(self, optim: OptimOptions) -> list[GroupRule]:
        """Multipliers by parameter name; by default biases and norms are not decayed."""
        return [GroupRule(pattern=r"bias$|\bln_|norm", weight_decay=0.0)]


def weigh(losses: Any) -> dict[str, float]:
    """Weights of losses by name out of a dataclass of them; a loss of weight 0 is not computed."""
    return {name: weight for name, weight in asdict(losses).items() if weight}
