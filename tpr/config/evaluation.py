"""Options of measuring retrieval."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tpr.config.changeable import changeable
from tpr.config.groups import table_groups
from tpr.config.measures import MEASURES
from tpr.config.ranges import Count, InnerShare
from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """When and how retrieval is measured, and which epoch is kept."""

    every_epochs: Count = 1
    """Epochs between two evaluations during training; the last epoch is always evaluated."""
    batch: Count = changeable(512)
    """Images or captions embedded at once; results do not depend on it beyond rounding."""
    select_on: Literal["val", "test", "last"] = "val"
    """What picks best.pt: validation, the test splits (as published, marked in tables), or the last epoch."""
    select_by: str | None = None
    """Measure that picks it, such as map; null: what each dataset's protocol prefers, R@1 for retrieval."""
    held_out: InnerShare = 0.1
    """Share of training identities held out for validation where a dataset has no validation split."""
    before: bool = False
    """Evaluate once before the first step: a direct-transfer row above the fine-tuned one."""
    intervals: bool = False
    """Add 95 % bootstrap intervals over query identities, where rows are no means over drawn galleries."""
    protocols: Mapping[str, Any] = table_groups("protocol")
    """Options of every protocol by its name."""

    def __post_init__(self) -> None:
        if self.select_by is not None and self.select_by not in MEASURES:
            raise ConfigError(f"select_by='{self.select_by}' is no measure; known: {', '.join(MEASURES)}")
