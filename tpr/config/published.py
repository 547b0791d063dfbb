"""Numbers that a paper prints for a recipe: a run of it then says how far off it is."""

from dataclasses import dataclass
from typing import Annotated

from tpr.config.measures import MEASURES
from tpr.config.ranges import Range
from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PublishedOptions:
    """One row of a published table."""

    dataset: str
    """Row that it belongs to, as tables name it: cuhk_pedes, or sysu_mm01 all."""
    measures: dict[str, Annotated[float, Range(0, 100)]]
    """Percent by measure: r1, r5, r10, r20, map, minp."""
    source: str
    """Where it is printed, and whether it is quoted second hand."""
    selection: str = ""
    """Checkpoint, epoch or draw that it belongs to, where the source says so."""
    query: str = ""
    """Kind of query, such as ensemble (ORACLE), on datasets of visible and infrared images."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown or not self.measures:
            found = f"got '{unknown[0]}'" if unknown else "got none"
            raise ConfigError(f"measures: expected some of {', '.join(MEASURES)}, {found}")
