"""Small tables that stand where the real systems, models and datasets do."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tpr.errors import ConfigError


class Irra:
    @dataclass(frozen=True, kw_only=True)
    class Options:
        temperature: float = 0.02
        """Softmax temperature; logits are
        cosine / temperature."""
        losses: dict[str, float] = field(default_factory=lambda: {"sdm": 1.0})
        """Weight of each loss."""

        def __post_init__(self) -> None:
            if self.temperature <= 0:
                raise ConfigError(f"temperature must be positive, got {self.temperature}")


class Rde:
    @dataclass(frozen=True, kw_only=True)
    class Options:
        tau: float = 0.015
        """Temperature of the triplet."""
        margin: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Sizes:
    width: int
    """Width of a block."""
    layers: int = 2


class Clip:
    @dataclass(frozen=True, kw_only=True)
    class Options:
        architecture: str | Sizes = "ViT-B-16"
        """A known name, or sizes."""
        weights: str | None = None


class Synth:
    @dataclass(frozen=True, kw_only=True)
    class Options:
        captions: Literal["published", "all"] = "all"
        """Which captions."""


class Plain:
    @dataclass(frozen=True, kw_only=True)
    class Options:
        pass


TABLES: dict[str, dict[str, type[Any]]] = {
    "system": {"irra": Irra.Options, "rde": Rde.Options},
    "model": {"clip": Clip.Options},
    "adapter": {"cuhk_pedes": Plain.Options, "icfg_pedes": Plain.Options, "synth_pedes": Synth.Options},
}
BASIC = "system: irra\nmodel: clip\n"
