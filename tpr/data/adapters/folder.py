"""A folder of images without an annotation: to be captioned, or searched image by image.

Every image below the folder is read, sorted by path. Identities are unknown unless an option says where they
stand: in the nearest folder named by a number (cam3/0006/0001.jpg) or at the start of the file's name
(0006_c1s1.jpg).
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpr.data.adapters.annotations import check_option_path
from tpr.data.adapters.base import Adapter
from tpr.data.samples.sample import DatasetTask, Sample, Split
from tpr.data.tables.walks import walk_files
from tpr.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".avif")
LARGEST_IDENTITY = 2**63 - 1

IdentityPlace = Literal["none", "folder", "name"]
"""Where the number of an image's identity stands."""


class Folder(Adapter):
    """Any folder of images, which are its test split."""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Options of a folder of images."""

        path: Path
        """The folder, below the data root; `.` is the data root itself."""
        identity: IdentityPlace = "none"
        """Where identities stand: the nearest folder named by a number, or the start of the file's name."""
        label: str | None = None
        """Name in tables; absent: the name of the folder."""

        def __post_init__(self) -> None:
            if self.path != Path():
                check_option_path(self.path)

    name = "folder"
    layout = "a folder of images"
    folders = ()
    counts = {}
    task = DatasetTask("image", needs_captions=False)

    @property
    def label(self) -> str:
        """The option `label`, else the name of the folder."""
        return str(self.options.label or self.options.path.name or self.name)

    def find_folder(self, root: Path) -> Path | None:
        """The folder that the option names."""
        path: Path = root / self.options.path
        return path if path.is_dir() else None

    @property
    def place(self) -> Path:
        """What the option `path` names."""
        path: Path = self.options.path
        return path

    def describe_state(self, root: Path) -> list[str]:
        """A hash of all names, so that an image that comes or goes is noticed."""
        names = hashlib.sha256()
        for path in walk_files(self.folder(root), SUFFIXES, self.leftovers):
            names.update(os.fsencode(path) + b"\0")
        return [names.hexdigest()]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Every image, without what other programs left there; links are followed once.

        A path that is no UTF-8 is changed so that tables can hold it; it names no file then.
        """
        place = self.options.identity
        self.has_identities = place != "none"
        strange = []
        for number, path in enumerate(walk_files(self.folder(root), SUFFIXES, self.leftovers)):
            found = path.relative_to(root).as_posix()
            image = escape_name(found)
            strange += [image] if image != found else []
            yield "test", Sample(image, number if place == "none" else read_number(image, place))
        if strange:
            self.notes.append(
                f"{len(strange):,} names are no UTF-8, the first is {strange[0]}; these images cannot be "
                "opened: rename them"
            )


def escape_name(path: str) -> str:
    """A path with bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_number(image: str, place: IdentityPlace) -> int:
    """The identity of an image by its path. Raises DataError where there is no number, or one too large."""
    *folders, name = image.split("/")
    if place == "folder":
        number = next((part for part in reversed(folders) if part.isdecimal()), None)
        lacking = f"no folder of '{image}' is a number, as in 0006/0001.jpg"
    else:
        start = re.match(r"\d+", name)
        number = start[0] if start else None
        lacking = f"the name of '{image}' does not begin with a number, as in 0006_c1s1.jpg"
    if number is None:
        raise DataError(f"identity {place}: {lacking}")
    if int(number) > LARGEST_IDENTITY:
        raise DataError(f"identity {place}: the number of '{image}' is above {LARGEST_IDENTITY}; rename it")
    return int(number)
