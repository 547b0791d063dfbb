"""Options of measuring retrieval."""

from dataclasses import dataclass, field
from typing import Literal

from tpr.config.changeable import changeable
from tpr.config.ranges import Count, InnerShare
from tpr.config.visible_infrared import VisibleInfraredOptions
from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """When and how retrieval is measured, and which epoch is kept."""

    every_epochs: Count = 1
    """Epochs between two evaluations during training; the last epoch is always evaluated."""
    batch: Count = changeable(512)
    """Images or captions embedded at once; results do not depend on it beyond rounding."""
    directions: tuple[Literal["text_to_image", "image_to_text"], ...] = ("text_to_image",)
    """Directions that get a table row, on sets of captions."""
    select_on: Literal["val", "test", "last"] = "val"
    """What picks best.pt: validation, the test sets (as published, marked in tables), or the last epoch."""
    held_out: InnerShare = 0.1
    """Share of training identities held out for validation where a set has no validation split."""
    before: bool = False
    """Evaluate once before the first step: the direct-transfer row beside a fine-tuned one."""
    intervals: bool = False
    """Add 95 % bootstrap intervals over query identities, on sets of captions."""
    visible_infrared: VisibleInfraredOptions = field(default_factory=VisibleInfraredOptions)
    """Protocol of sets of visible and infrared images."""

    def __post_init__(self) -> None:
        if not self.directions or len(set(self.directions)) != len(self.directions):
            raise ConfigError(f"directions must name each direction once, got {list(self.directions)}")
