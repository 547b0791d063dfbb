"""The options every run has, one frozen dataclass per group; `tpr options` prints these sentences.

Options of a system, a model or a dataset live next to their class and arrive through tables (see
`typed.py`); here such a field is a `Choice`. Relations between groups are checked in `Experiment.check`.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tpr.config.augment import AugmentOptions
from tpr.config.changeable import changeable
from tpr.config.choices import AdapterChoice
from tpr.config.choices import Choice as Choice
from tpr.config.choices import Named as Named
from tpr.config.evaluation import EvaluationOptions
from tpr.config.messages import show_value
from tpr.config.noise import NoiseOptions
from tpr.config.numbered_splits import check_splits
from tpr.config.paths import type_path
from tpr.config.published import PublishedOptions
from tpr.config.ranges import Count, NotNegative, PartialShare, Positive, Range, Seed, Share, Whole
from tpr.errors import ConfigError

LONGEST_RUN_NAME = 200
"""Bytes; folders hold 255, and `-seed12` or `-2` may follow."""
WARMUP_EPOCHS = 5
"""Default of `schedule.warmup_epochs`."""
Side = Annotated[int, Range(1, 4096)]
"""Pixels of one side of the network's input."""


def default_root() -> Path:
    """The folder that `TPR_DATA` names, else `data`. Raises ConfigError."""
    try:
        return type_path(os.environ.get("TPR_DATA") or "data")
    except ValueError as error:
        raise ConfigError(f"the environment variable TPR_DATA: {error}") from None


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What is read, and how a sample becomes tensors."""

    root: Path = field(default_factory=default_root)
    """Folder that holds the published dataset folders; the environment variable TPR_DATA is its default."""
    train: tuple[AdapterChoice, ...] = ()
    """Datasets to train on, joined; identities of later ones follow those of earlier ones."""
    test: tuple[AdapterChoice, ...] = ()
    """Datasets to evaluate, one table row each."""
    cache: Path | None = changeable(None)
    """Folder for parsed annotations and tokens; absent: `tpr` in the user's cache folder."""
    batch: Count = 64
    """Samples in one step, counted over all processes."""
    unit: Literal["pair", "image"] = "pair"
    """One training sample per image and caption (as published), or per image with several captions."""
    captions_per_image: Annotated[int, Range(1, 1024)] = 1
    """Captions drawn per image when `unit` is image; images with fewer repeat theirs."""
    sampler: Literal["system", "shuffled", "identity"] = "system"
    """Order of samples: what the system asks for, a plain shuffle, or P identities x K images."""
    images_per_identity: Annotated[int, Range(1, 1024)] = 4
    """K of the identity sampler and, for each kind of image, of the cross-modality sampler."""
    rephrased: Share = 0.0
    """Share of captions that a rephrasing replaces, where samples are a visible and an infrared image."""
    image_size: tuple[Side, Side] = (384, 128)
    """Height and width of the network's input in pixels, up to 4096 each."""
    text_length: Annotated[int, Range(3, 1024)] = 77
    """Token positions of a caption, start and end included, at most 1024; longer captions keep their end."""
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    """Augmentation of training images."""
    noise: NoiseOptions = field(default_factory=NoiseOptions)
    """Training captions exchanged between images, for experiments."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """An image that cannot be decoded stops the run, or is replaced by a neighbour and counted."""
    max_image_pixels: Annotated[int, Range(1, 2**40)] = 50_000_000
    """Images with more pixels are refused, a guard against decompression bombs."""

    def __post_init__(self) -> None:
        if self.unit == "pair" and self.captions_per_image != 1:
            raise ConfigError(f"captions_per_image={self.captions_per_image} needs unit=image")
        _refuse_repeats("train", self.train)
        _refuse_repeats("test", self.test)


def _refuse_repeats(name: str, chosen: tuple[Choice, ...]) -> None:
    for index, choice in enumerate(chosen):
        if choice in chosen[:index]:
            raise ConfigError(f"{name}[{index}] repeats '{choice.name}'; name each dataset once")


@dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """The optimiser; systems multiply learning rate and decay for some of their parts."""

    name: Literal["adam", "adamw", "sgd", "adan"] = "adam"
    """Update rule; adam adds the decay to the gradient (L2), adamw and adan decay the weights."""
    lr: NotNegative = 1e-5
    """Base learning rate for the whole global batch; never scaled by the number of processes."""
    betas: tuple[PartialShare, ...] = (0.9, 0.999)
    """Decay of the running means of gradient and squared gradient; sgd uses the first as momentum; adan
    takes three: gradient, change of the gradient, and square."""
    eps: Positive = 1e-3
    """Added to the denominator of adam, adamw and adan; 1e-3 is IRRA's published value, 1e-8 torch's."""
    weight_decay: NotNegative = 4e-5
    """Weight decay before a system's multipliers."""
    clip: Positive | None = None
    """Largest gradient norm; absent: gradients are not clipped."""

    def __post_init__(self) -> None:
        published = PUBLISHED_BETAS[self.name]
        if len(self.betas) != len(published):
            raise ConfigError(
                f"betas={list(self.betas)}: name={self.name} takes {len(published)} values, such as "
                f"{list(published)}"
            )


PUBLISHED_BETAS = {"adan": (0.98, 0.92, 0.99)} | dict.fromkeys(("adam", "adamw", "sgd"), (0.9, 0.999))
"""How many `optim.betas` an optimiser takes, and their usual values."""


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """How long, and how the learning rate moves."""

    epochs: Annotated[int, Range(1, 1_000_000)] = 60
    """Passes over the training data."""
    name: Literal["cosine", "step", "constant", "linear", "linear_step"] = "cosine"
    """Shape after the warm-up; linear_step is linear times the factors of step."""
    warmup_epochs: Whole = WARMUP_EPOCHS
    """Epochs of linear warm-up."""
    warmup_steps: Count | None = None
    """Steps of linear warm-up, in place of `warmup_epochs`; needs `per: step`."""
    warmup_share: Annotated[float, Range(0, 1, "both")] | None = None
    """Share of the run that is linear warm-up, in place of `warmup_epochs`."""
    warmup_factor: Share = 0.1
    """Share of the learning rate at which the warm-up starts."""
    minimum_factor: Share = 0.0
    """Share of the learning rate at which cosine and linear schedules end."""
    per: Literal["epoch", "step"] = "epoch"
    """The learning rate changes once per epoch, as published, or at every step."""
    milestones: tuple[Count, ...] = (20, 50)
    """Epochs after which step and linear_step multiply the learning rate by `gamma`."""
    gamma: Positive | tuple[Positive, ...] = 0.1
    """Factor at every milestone, or a list with one factor per milestone."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        if not rising:
            raise ConfigError(f"milestones must be epochs that rise, got {list(self.milestones)}")
        if isinstance(self.gamma, tuple) and len(self.gamma) != len(self.milestones):
            raise ConfigError(
                f"gamma={list(self.gamma)} must be one factor, or one for each of "
                f"milestones={list(self.milestones)}"
            )
        self.check_warmup()

    def check_warmup(self) -> None:
        """Refuse a warm-up that is given twice; raises ConfigError naming both options."""
        given = {
            name: getattr(self, name)
            for name in ("warmup_steps", "warmup_share", "warmup_epochs")
            if getattr(self, name) is not None
        }
        # The default stands where nothing was written.
        if self.warmup_epochs in (0, WARMUP_EPOCHS):
            del given["warmup_epochs"]
        if len(given) > 1:
            found = " and ".join(f"{name}={value}" for name, value in given.items())
            raise ConfigError(f"{found} exclude each other; give one (warmup_epochs=0 leaves that one out)")
        if self.warmup_steps is not None and self.per == "epoch":
            raise ConfigError(f"warmup_steps={self.warmup_steps} needs per=step")

    @property
    def has_decay(self) -> bool:
        """Whether the rate falls all the time between warm-up and end."""
        return self.name in ("cosine", "linear", "linear_step")


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """Where the weights come from, beyond the model's own `weights`."""

    checkpoint: Path | None = None
    """Checkpoint to start from, ours or an official file; `--finetune` sets it."""
    config: Path | None = None
    """Config of a run to train first, relative to the file that says so: its best.pt is the checkpoint."""
    minimum_share: Share = 0.9
    """Least share of values that must fit, of the smaller of checkpoint and model."""


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """The machine; all but the precision may change between two starts of one run."""

    device: Literal["auto", "cpu", "cuda"] = changeable("auto")
    """Where to compute; auto takes a GPU that torch can see."""
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Arithmetic of the towers over float32 weights; auto is bf16 on a GPU that has it, else float32."""
    workers: Annotated[int, Range(0, 1024)] = changeable(4)
    """Loader processes per training process; they never change a batch."""
    start: Literal["auto", "fork", "forkserver", "spawn"] = changeable("auto")
    """How loader processes start; auto forks on Linux, the quickest, and spawns elsewhere."""
    compile: bool = changeable(False)
    """Compile the model with torch.compile."""
    output: Path = changeable(Path("runs"))
    """Folder of run folders."""
    log_every_steps: Count = changeable(50)
    """Steps between two lines of losses; the device is asked only then."""
    save_every_steps: Count = changeable(1000)
    """Steps between two writes of last.pt within an epoch; every epoch's end writes it too."""
    max_steps: Count | None = changeable(None)
    """Stop after this number of steps; absent: run all epochs."""
    max_bad_steps: Count = changeable(3)
    """Steps in a row with a non-finite loss after which the run stops."""
    resume: Literal["auto", "never"] = changeable("auto")
    """Continue the newest run folder of the same configuration, or always start a new one."""
    timeout_seconds: Annotated[int, Range(1, 10_000_000)] = changeable(600)
    """Longest wait for another process before the run ends with a message."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a run writes in addition to its checkpoints."""

    tensorboard: bool = changeable(True)
    """Write TensorBoard events."""
    ranking_queries: Annotated[int, Range(0, 1000)] = changeable(8)
    """Queries drawn into ranking.png per test dataset; 0 writes no image."""
    finetune: str | None = changeable(None)
    """Shipped recipe that fine-tunes this run's checkpoint unless a CONFIG is given: drawn/finetune."""
    published: tuple[PublishedOptions, ...] = changeable(())
    """Numbers that a paper prints for this recipe, shown with the difference below the closing table."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One whole run; the run folder's config.yaml is this, resolved."""

    name: str | None = changeable(None)
    """Name of the run folder; absent: the config's folder and stem."""
    seed: Seed = 1
    """Seed of weights, order, augmentation and masks."""
    system: Annotated[Choice, Named("system")]
    """The method: its losses and its way to encode."""
    model: Annotated[Choice, Named("model")]
    """The towers."""
    data: DataOptions = field(default_factory=DataOptions)
    """What is read."""
    optim: OptimOptions = field(default_factory=OptimOptions)
    """The optimiser."""
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    """Epochs and learning rate."""
    init: InitOptions = field(default_factory=InitOptions)
    """Starting weights."""
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    """Retrieval during and after training."""
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    """The machine."""
    report: ReportOptions = field(default_factory=ReportOptions)
    """What is written."""

    def __post_init__(self) -> None:
        if self.name is None:
            return
        if self.name in ("", ".", "..") or set(self.name) & set("/\\\0\n"):
            raise ConfigError(f"name must be the name of one folder, got {show_value(self.name)}")
        if len(self.name.encode()) > LONGEST_RUN_NAME:
            found = f"{len(self.name.encode())}: {show_value(self.name)}"
            raise ConfigError(f"name must have at most {LONGEST_RUN_NAME} bytes, got {found}")

    def check(self) -> None:
        """Relations between groups; raises ConfigError naming both options."""
        schedule = self.schedule
        has_epochs = schedule.warmup_steps is None and schedule.warmup_share is None
        if schedule.has_decay and has_epochs and schedule.warmup_epochs >= schedule.epochs:
            raise ConfigError(
                f"schedule.warmup_epochs={schedule.warmup_epochs} leaves no epoch of "
                f"schedule.epochs={schedule.epochs}; lower the first or raise the second"
            )
        if self.data.sampler == "identity" and self.data.batch % self.data.images_per_identity:
            raise ConfigError(
                f"data.batch={self.data.batch} is no multiple of "
                f"data.images_per_identity={self.data.images_per_identity}, as the identity sampler needs"
            )
        check_splits(self.data.train, self.data.test)
