"""What all dataset adapters share: the class to derive from, published counts, options of large corpora.

An adapter names its folder, its files and its published counts, and has one method that yields samples in
published order. Everything else (cache, held-out identities, packing, checking) happens around it.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tpr.config.ranges import Count, Seed
from tpr.data.samples.sample import DatasetTask, Sample, Split
from tpr.data.tables.corpus import IndexArray
from tpr.data.tables.walks import Leftovers
from tpr.errors import DataError


@dataclass(frozen=True)
class Counts:
    """Size of one split; None is not published or not meant."""

    identities: int | None
    images: int | None
    captions: int | None
    exact: bool = True
    """False where published figures are rounded or disagree: a difference of 1 % is no finding."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """A dataset without options."""


@dataclass(frozen=True, kw_only=True)
class SubsetOptions:
    """Options of every large pre-training corpus."""

    images: Count | None = None
    """Images to draw at random from the annotation; absent: all."""
    seed: Seed = 1
    """Seed of every draw that the adapter makes."""
    on_missing_image: Literal["stop", "skip"] = "stop"
    """An image that the annotation names and that is not on disk stops the run, or is left out."""


class Adapter(ABC):
    """One dataset in its published layout."""

    Options: ClassVar[type[Any]] = NoOptions
    """Frozen dataclass of the dataset's options."""
    name: ClassVar[str]
    """Name in the table of adapters and in configs."""
    folders: ClassVar[tuple[str, ...]]
    """Accepted folder names below the data root, the published one first."""
    layout: ClassVar[str]
    """Expected files in a few words, for messages."""
    counts: ClassVar[Mapping[Split, Counts]]
    """Published size of each split that the dataset has."""
    task: DatasetTask = DatasetTask()
    """How the dataset is measured, and what its attributes are; options may decide."""
    version: ClassVar[int] = 3
    """Raise it whenever parsing changes: cached tables of older versions are then parsed again."""

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options
        self.has_identities = True
        """False when each image is its own class; may be set while parsing."""
        self.labels: dict[int, int] = {}
        """Published training number of each identity; empty: they are numbered in ascending order."""
        self.notes: list[str] = []
        """What parsing did to the annotation, such as repairs; logged at every start."""
        self.leftovers = Leftovers()
        """What other programs left in the folders that were looked through."""

    @property
    def label(self) -> str:
        """Name of the corpus in tables and reports."""
        return self.name

    def find_folder(self, root: Path) -> Path | None:
        """The dataset's folder, None if there is none."""
        return next((root / name for name in self.folders if (root / name).is_dir()), None)

    def folder(self, root: Path) -> Path:
        """The dataset's folder; DataError if there is none."""
        if not root.is_dir():
            raise DataError(
                f"data.root='{root}' is no folder; set data.root or the environment variable TPR_DATA"
            )
        found = self.find_folder(root)
        if found is None:
            raise self.not_found(root / self.place, root)
        return found

    @property
    def place(self) -> Path:
        """Where the dataset is expected below the data root, as messages tell it."""
        return Path(self.folders[0])

    def not_found(self, path: Path, root: Path) -> DataError:
        """The message for anything missing."""
        return DataError(
            f"{path} not found. Expected: {self.layout} under data.root='{root}'. "
            "Run `tpr data check` to check all datasets."
        )

    def find_file(self, root: Path, *names: str) -> Path:
        """The first of these files in the dataset's folder; DataError naming the first if there is none."""
        folder = self.folder(root)
        for name in names:
            if (folder / name).is_file():
                return folder / name
        raise self.not_found(folder / names[0], root)

    def sources(self, root: Path) -> list[Path]:
        """The annotation files; their names, sizes and times key the cache. DataError if one is missing.

        None where the names of images tell everything: `describe_state` then has to notice a new one.
        """
        return []

    @abstractmethod
    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Every image with its split, in published order. DataError in one line.

        An image that comes again, in the same split, adds its captions to the first; all else must agree.
        """

    def describe_state(self, root: Path) -> list[str]:
        """Anything besides the annotation files that parsing depends on, such as a folder that was found."""
        return []

    def review(self, found: Mapping[Split, Counts]) -> list[str]:
        """Warnings that follow from the sizes that were found."""
        return []

    @property
    def leaves_missing_out(self) -> bool:
        """True where the options leave out images that are not on disk."""
        return isinstance(self.options, SubsetOptions) and self.options.on_missing_image == "skip"

    def choose_rows(self, identity: IndexArray) -> IndexArray | None:
        """Ascending training rows that the options ask for, None for all. identity: (N,) as published."""
        if isinstance(self.options, SubsetOptions) and self.options.images is not None:
            return draw_rows(len(identity), self.options.images, self.options.seed)
        return None


def draw_rows(total: int, count: int, seed: int) -> IndexArray:
    """`count` of `total` rows at random, ascending; all of them if there are no more."""
    if count >= total:
        return np.arange(total, dtype=np.int64)
    return np.sort(np.array(random.Random(seed).sample(range(total), count), dtype=np.int64))


def clean_text(text: str) -> str:
    """Without blanks at the ends and with single blanks inside."""
    return " ".join(text.split())
