"""Market-1501: 1,501 people before six cameras on a campus, without captions.

Source: Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.
Files: Market-1501-v15.09.15/{bounding_box_train, query, bounding_box_test}/*.jpg and, if asked for, the
500,000 distractors in images/. A name such as 0002_c1s1_000451_03.jpg begins with person, camera, sequence.
Person -1 is junk: neither ranked nor counted. Person 0 is a distractor: nobody searches for it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tpr.data.adapters.base import Adapter, Counts
from tpr.data.samples.sample import DatasetTask, Role, Sample, Split
from tpr.data.tables.walks import list_files
from tpr.errors import DataError

TRAIN, QUERY, GALLERY, EXTRA = "bounding_box_train", "query", "bounding_box_test", "images"
NAME = re.compile(r"(-1|\d+)_c(\d+)s\d+_\d+_\d+")
"""Person and camera of a file name."""
JUNK = -1
DISTRACTOR = 0


@dataclass(frozen=True, kw_only=True)
class MarketOptions:
    """Options of Market-1501."""

    distractors: bool = False
    """Add the 500,000 images of the folder images/ to the gallery."""


class Market1501(Adapter):
    """Market-1501 as its authors' archive unpacks."""

    Options = MarketOptions
    name = "market1501"
    folders = (
        "Market-1501-v15.09.15",
        "market1501/Market-1501-v15.09.15",
        "Market-1501",
        "market1501",
    )
    layout = "Market-1501-v15.09.15/{bounding_box_train, query, bounding_box_test}/*.jpg"
    counts = {"train": Counts(751, 12_936, None), "test": Counts(751, 19_281, None)}
    task = DatasetTask("image", needs_captions=False)

    def describe_state(self, root: Path) -> list[str]:
        """Times of the folders: an image that comes or goes changes its folder's."""
        return [f"{folder.name} {folder.stat().st_mtime_ns}" for folder in self.list_folders(root)]

    def list_folders(self, root: Path) -> list[Path]:
        """The folders that are read. DataError where one is missing."""
        names = [TRAIN, QUERY, GALLERY, *([EXTRA] if self.options.distractors else [])]
        folders = [self.folder(root) / name for name in names]
        for folder in folders:
            if not folder.is_dir():
                raise self.not_found(folder, root)
        return folders

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Training images, queries and gallery, each by name."""
        train, query, gallery, *extra = self.list_folders(root)
        junk = 0
        for folder, split, role in (
            (train, "train", ""),
            (query, "test", "query"),
            (gallery, "test", "gallery"),
        ):
            for path in list_files(folder, (".jpg",), self.leftovers):
                person, camera = read_name(path)
                if person == JUNK:
                    junk += 1
                    continue
                yield split, self.make_sample(root, path, person, camera, role)  # type: ignore[arg-type,misc]
        for folder in extra:
            for path in list_files(folder, (".jpg",), self.leftovers):
                yield "test", self.make_sample(root, path, DISTRACTOR, -1, "gallery")
        if junk:
            self.notes.append(f"{junk:,} junk images (person -1) are left out, as published")

    def make_sample(self, root: Path, path: Path, person: int, camera: int, role: Role) -> Sample:
        """One image by its path below the data root."""
        return Sample(path.relative_to(root).as_posix(), person, camera=camera, role=role)


def read_name(path: Path) -> tuple[int, int]:
    """Person and camera. Raises DataError for a name of another form."""
    found = NAME.fullmatch(path.stem)
    if found is None:
        raise DataError(
            f"{path}: expected a name such as 0002_c1s1_000451_03.jpg (person, camera, sequence, frame, "
            "box); remove the file or give it its published name"
        )
    return int(found[1]), int(found[2])
