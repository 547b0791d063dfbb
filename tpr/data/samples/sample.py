"""What an adapter returns, one record per image; the corpus keeps them as columns."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val", "test"]
Modality = Literal["visible", "infrared"]
Protocol = Literal["text", "sysu", "regdb", "llcm"]
"""How a test set is measured: descriptions against images, or infrared against visible images."""

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with what is known about it."""

    image: str
    """Path below the data root, with forward slashes."""
    identity: int
    """Identity as published; the running image number where a set has none."""
    captions: tuple[str, ...] = ()
    """Every caption of the image, in published order."""
    camera: int = -1
    """Camera number, -1 where unknown."""
    modality: Modality = "visible"
    """Kind of camera."""
    attributes: tuple[int, ...] = ()
    """Attribute labels, -1 unknown; empty where a set has none."""
