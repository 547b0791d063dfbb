"""Settings of TVI-LFM; what each one changes is in `tvi_lfm.py`."""

from dataclasses import dataclass, field
from typing import Literal

from tpr.config.ranges import NotNegative, Positive
from tpr.errors import ConfigError
from tpr.objectives.triplet import TripletForm

Row = Literal["visible", "infrared", "fused", "text"]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Weights of the losses; a loss of weight 0 is not computed."""

    identity: Positive = 1.0
    """Identity classification of every row; the neck learns by it alone."""
    triplet: NotNegative = 1.0
    """Weighted triplet between all rows."""
    orthogonality: NotNegative = 0.0
    """Mean absolute cosine between infrared features and what visible texts say beyond infrared ones."""
    text_alignment: NotNegative = 0.0
    """Texts score the fused features as the infrared features do."""
    infrared_alignment: NotNegative = 0.0
    """Infrared features score the fused features as the texts do."""


@dataclass(frozen=True, kw_only=True)
class TviLfmOptions:
    """TVI-LFM's settings; the defaults are incremental training, mended where the published code slips."""

    rows: tuple[Row, ...] = ("visible", "infrared", "fused", "text")
    """What of each slot is trained on; base training has visible and infrared rows and no text."""
    feature_filter: bool = True
    """A fused feature is infrared + text - infrared text; otherwise infrared + text."""
    visual: Literal["trained", "frozen", "drifting"] = "frozen"
    """Towers and pooling of images; drifting, as published: frozen but for their norms' statistics."""
    losses: Losses = field(default_factory=Losses)
    """Weights of the losses."""
    triplet: TripletForm = "exact"
    """True softmax weights in the triplet loss, or the published ones, which lose far negatives."""
    alignment_scale: Positive = 14.285714
    """Factor of the cosine in both alignments."""
    text_lr: NotNegative = 1e-5
    """Learning rate of the text tower's blocks before the schedule, whatever `optim.lr`."""
    text_bias_lr: NotNegative = 2.0
    """Factor of that learning rate for their biases."""
    text_bias_decay: NotNegative = 0.0
    """Factor of the weight decay for their biases."""
    visual_bias_lr: NotNegative = 1.0
    """Factor of `optim.lr` for biases of the visual tower and of the text tower's last norm."""
    visual_bias_decay: NotNegative = 1.0
    """Factor of the weight decay for these biases."""
    head_lr: NotNegative = 2.0
    """Factor of `optim.lr` for neck and classifier."""

    def __post_init__(self) -> None:
        if "visible" not in self.rows or len(self.rows) < 2 or len(set(self.rows)) < len(self.rows):
            raise ConfigError(f"rows must name visible and others, each once, got {list(self.rows)}")
        if not self.reads_text and self.visual != "trained":
            raise ConfigError(
                f"visual={self.visual} leaves nothing to learn from rows={list(self.rows)}; "
                "set visual=trained, or add fused and text rows"
            )
        between = ("orthogonality", "text_alignment", "infrared_alignment")
        if "fused" not in self.rows and any(getattr(self.losses, name) for name in between):
            raise ConfigError(f"{', '.join(between)} need fused among the rows")

    @property
    def reads_infrared(self) -> bool:
        """True where training encodes infrared images: for a row, or for the norms' statistics."""
        return "infrared" in self.rows or "fused" in self.rows or self.visual != "frozen"

    @property
    def reads_text(self) -> bool:
        """True where there is a text tower."""
        return "text" in self.rows or "fused" in self.rows

    @property
    def subtracts_text(self) -> bool:
        """True where captions of infrared images are read in training."""
        return self.feature_filter and "fused" in self.rows

    @property
    def keeps_base(self) -> bool:
        """True where pooling and head of the base training are kept for infrared queries."""
        return self.reads_text and self.visual != "trained"
