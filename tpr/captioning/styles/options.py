"""Options of finding styles and of teaching them to a model; nothing heavy is imported here.

The defaults of training are ours; HAM's are told in docs/captions.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpr.errors import ConfigError

Init = Literal["embedding", "normal"]
Metric = Literal["l2", "cosine"]


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """CLIP's text tower."""

    weights: str = "openai"
    """A checkpoint of ours, an official CLIP file, or a tag of open_clip for `architecture`."""
    architecture: str | None = None
    """open_clip's name of the model; absent: what a file is made for, ViT-B-16-quickgelu for a tag."""
    normalise: bool = True
    """Features of length one; false: as the tower gives them."""
    batch: int = 512
    """Texts of one pass."""
    device: str = "auto"
    """Where to compute: auto takes a GPU that torch can see, else a device of torch."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, got {self.batch}")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """How many styles, and how they are found."""

    kmeans: int = 1000
    """Styles by KMeans, which come first; together they hold every caption once."""
    ups: int = 1000
    """Styles by uniform prototype sampling."""
    ups_members: int = 200
    """Captions of each of these."""
    ups_reach: float = 7.0
    """Prototypes are drawn within so many standard deviations of the mean, in each column."""
    ups_metric: Metric = "l2"
    """How nearness to a prototype is measured."""
    pooled: bool = True
    """Captions of all sets together; false: so many styles of each set."""
    iterations: int = 100
    """Most iterations of KMeans."""
    seed: int = 0
    """Seed of both."""
    dbscan: bool = False
    """DBSCAN in place of KMeans, as ablated; `kmeans` is then not read."""
    dbscan_distance: float = 0.3
    """Farthest that neighbours of DBSCAN are apart."""
    dbscan_neighbours: int = 5
    """Captions that must be so near for a place to be dense."""

    def __post_init__(self) -> None:
        for name in ("kmeans", "ups"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("ups_members", "iterations", "dbscan_neighbours"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("ups_reach", "dbscan_distance"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if not (self.kmeans or self.ups or self.dbscan):
            raise ConfigError("kmeans=0 ups=0: there would be no style")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What is trained, on what, and how."""

    model: str
    """Folder of LLaVA, LLaVA-Next, Qwen2.5-VL or Qwen3-VL; hub:ORG/NAME fetches one."""
    revision: str | None = None
    """Commit, branch or tag of a hub model; absent: its main branch."""
    root: Path = Path("data")
    """Folder that the pictures' paths in the instruction data are below."""
    styles: int | None = None
    """Number of styles; absent: as many as the instruction data names."""
    tokens: int = 10
    """Learnable vectors of each style."""
    init: Init = "embedding"
    """First values: embedding spreads them as the model's own words are, normal is HAM's N(0, 1)."""
    epochs: int = 2
    """Passes over the instruction data."""
    batch: int = 128
    """Captions of one step, counted over all processes."""
    micro_batch: int = 8
    """Captions that a process computes at a time; gradients of a step add up."""
    lr: float = 1e-3
    """Highest rate of the styles."""
    projector_lr: float = 2e-5
    """Highest rate of the projector."""
    schedule: Literal["cosine", "log_constant"] = "cosine"
    """Linear warm-up, then down to zero; log_constant is what HAM ran: logarithmic warm-up, then flat."""
    warmup: float = 0.03
    """Share of the steps that warm up."""
    clip: float = 1.0
    """Largest gradient norm."""
    seed: int = 42
    """Seed of first values, of the order of captions and of the pictures held out."""
    held_out: float = 0.02
    """Share of pictures that are not learned from: after each epoch they tell whether styles say anything."""
    longest_caption: int = 256
    """Tokens that are learned of a caption."""
    min_visual_tokens: int = 256
    """Qwen: small pictures are enlarged in proportion until they fill so many tokens."""
    max_visual_tokens: int = 1280
    """Qwen: large pictures are shrunk in proportion until they fill no more tokens."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Precision of what is frozen and of the arithmetic; what is trained stays in float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU that torch can see."""
    checkpointing: bool = True
    """Compute parts of the forward pass twice to save memory."""
    save_every_steps: int = 500
    """Steps between two times that last.pt is written."""
    log_every_steps: int = 10
    """Steps between two lines of progress."""
    timeout_seconds: int = 1800
    """Longest that processes wait for one another."""

    def __post_init__(self) -> None:
        counts = (
            "tokens", "epochs", "batch", "micro_batch", "longest_caption", "min_visual_tokens",
            "save_every_steps", "log_every_steps", "timeout_seconds",
        )  # fmt: skip
        for name in counts:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.styles is not None and self.styles < 1:
            raise ConfigError(f"styles must be at least 1, got {self.styles}")
        if self.max_visual_tokens < self.min_visual_tokens:
            raise ConfigError("max_visual_tokens must not be below min_visual_tokens")
        for name in ("lr", "projector_lr", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("warmup", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


OF_THE_MACHINE = {
    "root", "micro_batch", "device", "checkpointing", "save_every_steps", "log_every_steps", "timeout_seconds"
}  # fmt: skip
"""Options that a run may be gone on with otherwise."""
