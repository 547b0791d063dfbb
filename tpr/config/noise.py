"""Options of captions that are moved to other pictures on purpose."""

from dataclasses import dataclass
from pathlib import Path

from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """Training captions exchanged between pictures, to measure what wrong pairs do."""

    rate: float = 0.0
    """Share of captions that change places; 0 leaves all where they are."""
    file: Path | None = None
    """Published index file (.npy): a permutation of all training captions; it replaces `rate` and `seed`."""
    seed: int = 1
    """Seed of the exchange that `rate` draws."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigError(f"rate must lie in [0, 1), got {self.rate}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must lie in [0, 2^32), got {self.seed}")
