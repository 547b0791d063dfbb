"""Every measure that a table can show: results, options, curves and published numbers name them alike."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """How one measure is shown and compared."""

    title: str
    """Heading of its column."""
    unit: str = "%"
    higher_is_better: bool = True


MEASURES = {
    "r1": Measure("R@1"),
    "r5": Measure("R@5"),
    "r10": Measure("R@10"),
    "r20": Measure("R@20"),
    "map": Measure("mAP"),
    "minp": Measure("mINP"),
}
"""By name, in the order of columns."""


def order_measures(names: set[str]) -> list[str]:
    """Names in the order of columns."""
    return [name for name in MEASURES if name in names]
