"""Options of visible-infrared retrieval: which searches are measured, by which queries and texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tpr.config.ranges import Range, ShortSeed
from tpr.errors import ConfigError

Query = Literal["infrared", "text", "fused", "ensemble"]
CrossDirection = Literal["infrared_to_visible", "visible_to_infrared", "sampled_infrared_to_visible"]


@dataclass(frozen=True, kw_only=True)
class VisibleInfraredOptions:
    """How sets of visible and infrared images are measured; sets of captions do not read this."""

    queries: tuple[Query, ...] = ()
    """What stands for an infrared image: itself, its text, both fused, their sum; empty: all of them."""
    text: Literal["own", "oracle"] = "own"
    """An infrared image's own caption, or one of the true person's visible images (as published)."""
    text_seed: ShortSeed = 1
    """Seed of the draw of oracle texts."""
    sysu: tuple[Literal["all", "indoor"], ...] = ("all", "indoor")
    """Searches of SYSU-MM01: visible images of all cameras, or of the indoor ones, 1 and 2."""
    shots: Literal["single", "multi"] = "single"
    """Gallery images of each person and camera in SYSU-MM01: one, or up to ten."""
    trials: Annotated[int, Range(1, 1000)] = 10
    """Galleries that are drawn, by the seeds 0, 1, ...; a set that takes every image has one."""
    directions: tuple[CrossDirection, ...] = ("infrared_to_visible",)
    """Who searches whom; sampled: the drawn infrared images search all visible ones, an LLCM variant."""

    def __post_init__(self) -> None:
        for name in ("queries", "sysu", "directions"):
            chosen = getattr(self, name)
            if len(set(chosen)) != len(chosen) or (not chosen and name != "queries"):
                raise ConfigError(f"{name} must name each choice once, got {list(chosen)}")


@dataclass(frozen=True, kw_only=True)
class NumberedSplit:
    """Options of a set with several published splits, which share people: each tests whom another trains."""

    split: int
    """Which of them, from 1."""


def check_splits(train: Sequence[Any], test: Sequence[Any]) -> None:
    """Refuse to test on another numbered split of a set than it is trained on, which shares people.

    train, test: the choices of datasets. Raises ConfigError.
    """
    for number, tested in enumerate(test):
        if not isinstance(tested.options, NumberedSplit):
            continue
        split = tested.options.split
        for trained in (choice.options for choice in train if choice.name == tested.name):
            own = trained.split
            if own != split:
                raise ConfigError(
                    f"data.test[{number}] '{tested.name}' is split {split}, but split {own} is trained on, "
                    f"which holds people of the other; test on split {own}"
                )
