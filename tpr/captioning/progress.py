"""How far a plan is: counts of its markers, never the captions themselves."""

from collections import Counter
from dataclasses import dataclass

from tpr.captioning.plan import CaptionPlan
from tpr.captioning.shards import Marker, read_markers
from tpr.locks import is_held

RECENT = 20
"""Shards that the rate is taken from."""


@dataclass(frozen=True)
class PlanProgress:
    """Counts of a plan."""

    plan: CaptionPlan
    shards: int
    captions: int
    failed: int
    retries: int
    reasons: dict[str, int]
    rate: float | None
    """Requests per second of the last shards; None before the first."""
    is_running: bool

    @property
    def answered(self) -> int:
        """Requests that are captions or failures."""
        return self.captions + self.failed

    @property
    def seconds_left(self) -> float | None:
        """Time left at this rate; None before the first shard."""
        return None if not self.rate else (self.plan.requests - self.answered) / self.rate


def measure_progress(plan: CaptionPlan) -> PlanProgress:
    """Counts of the markers."""
    markers = read_markers(plan)
    reasons: Counter[str] = Counter()
    for marker in markers:
        reasons.update(marker.reasons)
    return PlanProgress(
        plan=plan,
        shards=len(markers),
        captions=sum(marker.captions for marker in markers),
        failed=sum(marker.failed for marker in markers),
        retries=sum(marker.retries for marker in markers),
        reasons=dict(reasons.most_common()),
        rate=measure_rate(markers),
        is_running=is_held(plan.folder),
    )


def measure_rate(markers: list[Marker]) -> float | None:
    """Requests per second of the shards that were finished last."""
    recent = sorted(markers, key=lambda marker: marker.finished)[-RECENT:]
    if not recent:
        return None
    return sum(marker.requests for marker in recent) / max(sum(marker.seconds for marker in recent), 1e-9)
