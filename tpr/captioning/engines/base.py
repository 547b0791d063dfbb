"""What every engine shares: a request, a reply, and the class to derive from.

An engine turns requests into replies and knows nothing of plans, shards or filters. Heavy libraries are
imported inside its methods, so that the table of engines costs nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

UNREADABLE = "unreadable image"
"""Failure of an image that is missing, empty, damaged or no image."""
TRUNCATED = "truncated"
"""Failure of a text that was cut at the engine's limit of tokens."""


@dataclass(frozen=True, kw_only=True)
class CaptionRequest:
    """One caption to write."""

    image: str
    """Path relative to the corpus root, the key in outputs."""
    path: Path | None
    """File to open; None where the image is in `data` or the request has none."""
    view: str
    """Which caption of the image, such as 'static-0' or 'dynamic-1'."""
    instruction: str
    """Full text for the model, the template already filled in where there is one."""
    template: int | None
    """Number of the template, from 0."""
    style: int | None
    """Number of the annotator's style, from 0."""
    seed: int
    """Sampling seed below 2**31: a function of plan seed, image, view and attempt alone."""
    attempt: int = 0
    """How often this caption was asked for before."""
    data: bytes | None = None
    """Bytes of the image's file where it lies in a packed corpus."""

    @property
    def has_image(self) -> bool:
        """False where a caption is rephrased."""
        return self.path is not None or self.data is not None


@dataclass(frozen=True, kw_only=True)
class CaptionReply:
    """What came back for one request."""

    text: str | None
    """The caption; None where it failed."""
    failure: str | None = None
    """Reason in a few words that name no image, such as 'unreadable image' or 'server said 500'."""
    is_fatal: bool = False
    """Retrying this request cannot help."""


class Engine(ABC):
    """Writes captions. Built from its options; raises UserError where it cannot start."""

    Options: ClassVar[type[Any]]
    """Frozen dataclass of the engine's options."""
    uses_gpu: ClassVar[bool] = False
    """Whether it computes in this process, on a GPU where there is one."""
    batch: int
    """How many requests a call of `generate` should have."""

    @abstractmethod
    def __init__(self, options: Any) -> None:
        """options: an instance of `Options`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Model, versions and precision as plain values; kept with every shard. Has the key 'model'."""

    @abstractmethod
    def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
        """Replies in the order and number of the requests.

        What concerns one request is its reply's failure. Raises UserError in one line where no request can
        be answered any more, such as a server that is gone for good: the run then stops and can go on later.
        """

    def close(self) -> None:  # noqa: B027  most engines hold nothing
        """Give back what the engine holds, such as connections."""
