"""What an adapter returns, one record per image; the corpus keeps them as columns."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val", "test"]
Modality = Literal["visible", "infrared"]

Role = Literal["", "query", "gallery"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Attribute:
    """One thing that images are labelled with: a label is the number of a value, -1 is unknown."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class DatasetTask:
    """What a dataset is measured by, and what its labels mean."""

    protocol: str = "text"
    """Name in the table of protocols (`tpr.evaluation.protocols`)."""
    rules: str = ""
    """Which of the protocol's rules are the dataset's; empty where the protocol has one set of them."""
    needs_captions: bool = True
    """Whether an image without a caption is of no use, and all captions of an image are descriptions."""
    is_ordered: bool = False
    """Whether images stand in the order of the protocol, as an index file lists them."""
    attributes: tuple[Attribute, ...] = ()
    """What the attribute labels of an image stand for, in their order; empty where they have no names."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with what is known about it."""

    image: str
    """Path below the data root, with forward slashes."""
    identity: int
    """Identity as published; the running image number where a dataset has none."""
    captions: tuple[str, ...] = ()
    """Every caption of the image, in published order."""
    camera: int = -1
    """Camera number, -1 where unknown."""
    modality: Modality = "visible"
    """Kind of camera."""
    attributes: tuple[int, ...] = ()
    """Attribute labels in the order of the task's attributes, -1 unknown; empty where a dataset has none."""
    role: Role = ""
    """What the image is in a test split whose queries and gallery are other images; empty elsewhere."""
