"""Options of finding styles and of teaching them to a model; nothing heavy is imported here.

The defaults of training are ours; HAM's are in docs/captions_styles.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tpr.captioning.engines.model_options import ModelOptions
from tpr.config.ranges import Count, Positive, Range, Seed, Share, ShortSeed, Whole
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
    batch: Count = 512
    """Texts of one pass."""
    device: str = "auto"
    """Where to compute: auto takes a GPU that torch can see, else a device of torch."""


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """How many styles, and how they are found."""

    kmeans: Whole = 1000
    """Styles by KMeans, which come first; together they hold every caption once."""
    ups: Whole = 1000
    """Styles by uniform prototype sampling."""
    ups_members: Count = 200
    """Captions of each of these."""
    ups_reach: Positive = 7.0
    """Prototypes are drawn within this number of standard deviations of the mean, in each column."""
    ups_metric: Metric = "l2"
    """How nearness to a prototype is measured."""
    pooled: bool = True
    """Captions of all datasets together; false: that many styles of each dataset."""
    iterations: Count = 100
    """Most iterations of KMeans."""
    seed: ShortSeed = 0
    """Seed of both."""
    dbscan: bool = False
    """DBSCAN in place of KMeans, as ablated; `kmeans` is then not read."""
    dbscan_distance: Positive = 0.3
    """Farthest that neighbours of DBSCAN are apart."""
    dbscan_neighbours: Count = 5
    """Captions that must be so near for a place to be dense."""

    def __post_init__(self) -> None:
        if not (self.kmeans or self.ups or self.dbscan):
            raise ConfigError("kmeans=0 ups=0: there would be no style")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(ModelOptions):
    """What is trained (LLaVA, LLaVA-Next, Qwen2.5-VL or Qwen3-VL), on what, and how."""

    root: Path = Path("data")
    """Folder that the images' paths in the instruction data are below."""
    styles: Annotated[int, Range(1, 1_000_000)] | None = None
    """Number of styles; absent: as many as the instruction data names."""
    tokens: Annotated[int, Range(1, 1_000_000)] = 10
    """Learnable vectors of each style."""
    init: Init = "embedding"
    """First values: embedding spreads them as the model's own words are, normal is HAM's N(0, 1)."""
    epochs: Count = 2
    """Passes over the instruction data."""
    batch: Count = 128
    """Captions of one step, counted over all processes."""
    micro_batch: Count = 8
    """Captions that a process computes at a time; gradients of a step add up."""
    lr: Positive = 1e-3
    """Highest learning rate of the styles."""
    projector_lr: Positive = 2e-5
    """Highest learning rate of the projector."""
    schedule: Literal["cosine", "log_constant"] = "cosine"
    """Linear warm-up, then down to zero; log_constant is what HAM ran: logarithmic warm-up, then flat."""
    warmup: Share = 0.03
    """Share of the steps that warm up."""
    clip: Positive = 1.0
    """Largest gradient norm."""
    seed: Seed = 42
    """Seed of first values, of the order of captions and of the images held out."""
    held_out: Share = 0.02
    """Share of images that are not learned from: after each epoch they tell whether styles say anything."""
    longest_caption: Count = 256
    """Tokens that are learned of a caption."""
    checkpointing: bool = True
    """Compute parts of the forward pass twice to save memory."""
    save_every_steps: Count = 500
    """Steps between two times that last.pt is written."""
    log_every_steps: Count = 10
    """Steps between two lines of progress."""
    timeout_seconds: Annotated[int, Range(1, 10_000_000)] = 1800
    """Longest that processes wait for one another."""


OF_THE_MACHINE = {
    "root", "micro_batch", "device", "checkpointing", "save_every_steps", "log_every_steps", "timeout_seconds"
}  # fmt: skip
"""Options that may change when a run resumes."""
