"""Options of captions that are moved to other images on purpose."""

from dataclasses import dataclass
from pathlib import Path

from tpr.config.ranges import PartialShare, ShortSeed


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """Training captions exchanged between images, to measure what wrong pairs do."""

    rate: PartialShare = 0.0
    """Share of captions that change places; 0 leaves all where they are."""
    file: Path | None = None
    """Published index file (.npy): a permutation of all training captions; it replaces `rate` and `seed`."""
    seed: ShortSeed = 1
    """Seed of the exchange that `rate` draws."""
