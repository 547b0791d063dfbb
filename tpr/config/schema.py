"""The options every run has, one frozen dataclass per group; `tpr options` prints these sentences.

Options of a system, a model or a data set live beside their class and arrive through tables (see
`typed.py`); here such a field is a `Choice`. Relations between groups are checked in `Experiment.check`.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tpr.config.augment import AugmentOptions
from tpr.config.evaluation import EvaluationOptions
from tpr.config.noise import NoiseOptions
from tpr.config.visible_infrared import check_splits
from tpr.errors import ConfigError


@dataclass(frozen=True)
class Named:
    """Marks a field whose value is chosen by name from the table `kind`."""

    kind: str


@dataclass(frozen=True)
class Choice:
    """A named entry of a table with its typed options."""

    name: str
    options: Any


AdapterChoice = Annotated[Choice, Named("adapter")]


def default_root() -> Path:
    """The folder that `TPR_DATA` names, else `data`."""
    return Path(os.environ.get("TPR_DATA") or "data").expanduser()


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What is read, and how a sample becomes tensors."""

    root: Path = field(default_factory=default_root)
    """Folder that holds the published data set folders; the environment variable TPR_DATA is its default."""
    train: tuple[AdapterChoice, ...] = ()
    """Data sets to train on, joined; identities of later sets follow those of earlier ones."""
    test: tuple[AdapterChoice, ...] = ()
    """Data sets to evaluate, one table row each."""
    cache: Path | None = None
    """Folder for parsed annotations and tokens; absent: `tpr` in the user's cache folder."""
    batch: int = 64
    """Samples in one step, counted over all processes."""
    unit: Literal["pair", "image"] = "pair"
    """One training sample per image and caption (as published), or per image with several captions."""
    captions_per_image: int = 1
    """Captions drawn per image when `unit` is image; images with fewer repeat theirs."""
    sampler: Literal["system", "shuffled", "identity"] = "system"
    """Order of samples: what the system asks for, a plain shuffle, or P identities x K pictures."""
    pictures_per_identity: int = 4
    """K of the identity sampler and, for each kind of picture, of the cross-modality sampler."""
    rephrased: float = 0.0
    """Share of captions that a rephrasing replaces, where samples are a visible and an infrared picture."""
    image_size: tuple[int, int] = (384, 128)
    """Height and width of the network's input in pixels."""
    text_length: int = 77
    """Token positions of a caption, start and end included; longer captions keep their end token."""
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    """Augmentation of training pictures."""
    noise: NoiseOptions = field(default_factory=NoiseOptions)
    """Training captions exchanged between pictures, for experiments."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """A picture that cannot be decoded stops the run, or is replaced by a neighbour and counted."""
    max_picture_pixels: int = 50_000_000
    """Pictures with more pixels are refused, a guard against decompression bombs."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, got {self.batch}")
        for name in ("captions_per_image", "pictures_per_identity", "max_picture_pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.unit == "pair" and self.captions_per_image != 1:
            raise ConfigError(f"captions_per_image={self.captions_per_image} needs unit=image")
        if not 0 <= self.rephrased <= 1:
            raise ConfigError(f"rephrased must lie in [0, 1], got {self.rephrased}")
        if min(self.image_size) < 1:
            raise ConfigError(f"image_size must be positive, got {list(self.image_size)}")
        if self.text_length < 3:
            raise ConfigError(f"text_length must be at least 3, got {self.text_length}")
        _refuse_repeats("train", self.train)
        _refuse_repeats("test", self.test)


def _refuse_repeats(name: str, chosen: tuple[Choice, ...]) -> None:
    for index, choice in enumerate(chosen):
        if choice in chosen[:index]:
            raise ConfigError(f"{name}[{index}] repeats '{choice.name}'; name each data set once")


@dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """The optimiser; systems multiply rate and decay for parts of themselves."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """Update rule; adam adds the decay to the gradient (L2), adamw decays the weights."""
    lr: float = 1e-5
    """Base learning rate for the whole global batch; never scaled by the number of processes."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of gradient and squared gradient; sgd uses the first as momentum."""
    eps: float = 1e-3
    """Added to Adam's denominator; 1e-3 is IRRA's published value, 1e-8 torch's."""
    weight_decay: float = 4e-5
    """Weight decay before a system's multipliers."""
    clip: float | None = None
    """Largest gradient norm; absent: gradients are not clipped."""

    def __post_init__(self) -> None:
        if self.lr < 0 or self.eps <= 0 or self.weight_decay < 0:
            raise ConfigError(
                "lr and weight_decay must not be negative and eps must be positive, "
                f"got lr={self.lr}, weight_decay={self.weight_decay}, eps={self.eps}"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas must lie in [0, 1), got {list(self.betas)}")
        if self.clip is not None and self.clip <= 0:
            raise ConfigError(f"clip must be positive, got {self.clip}; null does not clip")


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """How long, and how the learning rate moves."""

    epochs: int = 60
    """Passes over the training set."""
    name: Literal["cosine", "step", "constant"] = "cosine"
    """Shape after the warm-up."""
    warmup_epochs: int = 5
    """Epochs of linear warm-up."""
    warmup_factor: float = 0.1
    """Share of the rate in the first warm-up epoch."""
    per: Literal["epoch", "step"] = "epoch"
    """The rate changes once per epoch, as published, or at every step."""
    milestones: tuple[int, ...] = (20, 50)
    """Epochs after which the step schedule multiplies the rate by `gamma`."""
    gamma: float = 0.1
    """Factor of the step schedule."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1, got {self.epochs}")
        if self.warmup_epochs < 0:
            raise ConfigError(f"warmup_epochs must not be negative, got {self.warmup_epochs}")
        if not 0 <= self.warmup_factor <= 1:
            raise ConfigError(f"warmup_factor must lie in [0, 1], got {self.warmup_factor}")
        if self.gamma <= 0:
            raise ConfigError(f"gamma must be positive, got {self.gamma}")
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        if not rising:
            raise ConfigError(f"milestones must be epochs that rise, got {list(self.milestones)}")


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """Where the weights come from, beyond the model's own `weights`."""

    checkpoint: Path | None = None
    """Checkpoint to start from, ours or an official file; `--finetune` sets it."""
    config: Path | None = None
    """Config of a run to train first, relative to the file that says so: its best.pt is the checkpoint."""
    minimum_share: float = 0.9
    """Least share of values that must fit, of the smaller of checkpoint and model."""

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_share <= 1:
            raise ConfigError(f"minimum_share must lie in [0, 1], got {self.minimum_share}")


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """The machine, not the science: left out when two configs are compared."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU that torch can see."""
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Arithmetic of the towers over float32 weights; auto is bf16 on a GPU that has it, else float32."""
    workers: int = 4
    """Loader processes per training process; they never change a batch."""
    start: Literal["auto", "fork", "forkserver", "spawn"] = "auto"
    """How loader processes start; auto forks on Linux, the quickest, and spawns elsewhere."""
    compile: bool = False
    """Compile the model with torch.compile."""
    output: Path = Path("runs")
    """Folder of run folders."""
    log_every_steps: int = 50
    """Steps between two lines of losses; the device is asked only then."""
    save_every_steps: int = 1000
    """Steps between two writes of last.pt within an epoch; every epoch's end writes it too."""
    max_steps: int | None = None
    """Stop after so many steps of this run; absent: run all epochs."""
    max_bad_steps: int = 3
    """Steps in a row with a non-finite loss after which the run stops."""
    resume: Literal["auto", "never"] = "auto"
    """Continue the newest run folder of the same configuration, or always start a new one."""
    timeout_seconds: int = 600
    """Longest wait for another process before the run ends with a message."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"workers must not be negative, got {self.workers}")
        for name in ("log_every_steps", "save_every_steps", "max_steps", "max_bad_steps", "timeout_seconds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a run writes beside its checkpoints."""

    tensorboard: bool = True
    """Write TensorBoard events."""
    ranking_queries: int = 8
    """Queries drawn into ranking.png per test set; 0 writes no picture."""

    def __post_init__(self) -> None:
        if self.ranking_queries < 0:
            raise ConfigError(f"ranking_queries must not be negative, got {self.ranking_queries}")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One whole run; the run folder's config.yaml is this, resolved."""

    name: str | None = None
    """Name of the run folder; absent: the config's folder and stem."""
    seed: int = 1
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
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must lie in [0, 2^63), got {self.seed}")
        if self.name is not None and (self.name in ("", ".", "..") or set(self.name) & set("/\\\0\n")):
            raise ConfigError(f"name must be the name of one folder, got {self.name!r}")

    def check(self) -> None:
        """Relations between groups; raises ConfigError naming both options."""
        if self.schedule.warmup_epochs >= self.schedule.epochs and self.schedule.name == "cosine":
            raise ConfigError(
                f"schedule.warmup_epochs={self.schedule.warmup_epochs} leaves no epoch of "
                f"schedule.epochs={self.schedule.epochs}; lower the first or raise the second"
            )
        if self.data.sampler == "identity" and self.data.batch % self.data.pictures_per_identity:
            raise ConfigError(
                f"data.batch={self.data.batch} is no multiple of "
                f"data.pictures_per_identity={self.data.pictures_per_identity}, as the identity sampler needs"
            )
        check_splits(self.data.train, self.data.test)
