"""What SYSU-MM01, RegDB and LLCM share: index files, folders of images, and captions in a folder `Text`.

`Text` may be absent as a whole: the images then have no captions, which training on images alone does
without. A part of it that is missing is an error. A caption file's keys may carry any folders before the last
three parts of a path (the published ones begin with `datasets/regdb/` or with a path of another machine).
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tpr.data.adapters.annotations import (
    check_path,
    describe,
    quote,
    read_number,
    read_pairs,
    read_text,
    refuse,
)
from tpr.data.adapters.base import Adapter
from tpr.data.tables.array_files import map_array_file
from tpr.data.tables.walks import Leftovers, list_files, list_folders
from tpr.errors import DataError

BLANKS = " \t\r"
"""What stands between the words of a line; other blanks may belong to a name."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
NO_TEXT = "there is no folder Text: the images have no captions"


class VisibleInfraredAdapter(Adapter):
    """A dataset of visible and infrared images, with or without captions."""

    def text_folder(self, root: Path) -> Path | None:
        """The dataset's folder `Text`, None if there is none."""
        folder = self.folder(root) / "Text"
        return folder if folder.is_dir() else None

    def find_text(self, root: Path, folder: str, *names: str) -> Path:
        """The first of these files in a folder of `Text`; DataError naming the first if there is none."""
        return self.find_file(root, *(f"Text/{folder}/{name}" for name in names))

    def caption_dictionary(self, root: Path, folder: str) -> Path:
        """The JSON file of a folder of `Text` that has captions by image, rather with rephrasings."""
        return self.find_text(root, folder, f"caption_llm_dict_{folder}.json", f"caption_dict_{folder}.json")

    def caption_files(self, root: Path, *folders: str) -> list[Path]:
        """The caption dictionaries of these folders; none where there is no text."""
        if self.text_folder(root) is None:
            return []
        return [self.caption_dictionary(root, folder) for folder in folders]

    def read_tables(self, root: Path, *folders: str) -> list["CaptionTable"]:
        """The captions of these folders; empty tables where there is no text."""
        files = self.caption_files(root, *folders)
        return [CaptionTable.read(path) for path in files] or [CaptionTable() for _ in folders]

    def require_folders(self, root: Path, *names: str) -> None:
        """Raise DataError for a missing folder of images."""
        for name in names:
            if not (self.folder(root) / name).is_dir():
                raise self.not_found(self.folder(root) / name, root)

    def note_texts(self, root: Path, *tables: "CaptionTable") -> None:
        """Tell what captions were missing; DataError if a file has none of the images at all."""
        if self.text_folder(root) is None:
            self.notes.append(NO_TEXT)
        for table in tables:
            self.notes += table.review()


@dataclass
class CaptionTable:
    """Captions by image: the description and, in some files, its rephrasing by a language model."""

    path: Path | None = None
    """None: there are no captions."""
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Images that were looked up and have no caption."""
    found: int = 0

    @classmethod
    def read(cls, path: Path) -> "CaptionTable":
        """A caption file. Raises DataError in one line."""
        return cls(path, read_captions(path))

    def find(self, *names: str) -> tuple[str, ...]:
        """The captions of an image under the first of these names that is known."""
        if self.path is None:
            return ()
        for name in names:
            if name in self.captions:
                self.found += 1
                return self.captions[name]
        self.missing.append(names[0])
        return ()

    def review(self) -> list[str]:
        """A line about missing captions. Raises DataError where no image has any."""
        if not self.missing:
            return []
        if not self.found:
            raise DataError(
                f"{self.path}: no key names an image of the dataset; the first ends in "
                f"'{next(iter(self.captions))}', expected paths that end in such as '{self.missing[0]}'"
            )
        return [f"{self.path}: {len(self.missing):,} images have no caption, the first is {self.missing[0]}"]


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """{last three parts of the key: (description, rephrasing if there is one)}."""
    captions: dict[str, tuple[str, ...]] = {}
    for key, value in read_pairs(path, "{image path: {description, aug_description}}"):
        parts = value if isinstance(value, dict) else {"description": value}
        texts = tuple(parts[name] for name in ("description", "aug_description") if name in parts)
        if "description" not in parts or not all(isinstance(text, str) for text in texts):
            raise refuse(
                path,
                f"image {quote(key)}: expected a 'description' and perhaps an 'aug_description', both "
                f"strings, found {describe(value)}",
            )
        name = "/".join(key.replace("\\", "/").split("/")[-3:])
        if captions.setdefault(name, texts) != texts:
            raise refuse(path, f"two keys end in {quote(name)} and have other captions; keep the right one")
    return captions


def read_identity_captions(path: Path) -> dict[int, tuple[str, ...]]:
    """{person: captions of all the person's visible images}."""
    captions: dict[int, tuple[str, ...]] = {}
    for key, value in read_pairs(path, "{person: [captions]}"):
        person = read_number(key)
        if person is None:
            raise refuse(path, f"expected person numbers as keys, found {quote(key)}")
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise refuse(path, f"person {key}: expected a list of strings, found {describe(value)}")
        if captions.setdefault(person, tuple(value)) != tuple(value):
            raise refuse(path, f"person {person} comes twice with other captions; keep the right ones")
    return captions


def read_text_array(path: Path, count: int) -> list[str]:
    """The strings of a .npy file, one per image. Raises DataError for another kind or number."""
    array = map_array_file(path)
    if array.dtype.kind != "U" or array.ndim != 1:
        raise DataError(
            f"{path}: holds {array.dtype} of shape {list(array.shape)}, expected strings in one row"
        )
    if len(array) != count:
        raise DataError(
            f"{path}: has {len(array):,} entries, but there are {count:,} images; their order must agree"
        )
    # numpy makes strings of any bytes, also of such that are no letters, which other code cannot store.
    letters = array.astype(array.dtype.newbyteorder("=")).view(np.uint32) if array.dtype.itemsize else array
    if array.dtype.itemsize and letters.max(initial=0) > sys.maxunicode:
        raise refuse(path, "an entry is no text; fetch the file again")
    return [str(text) for text in array]


def read_people(path: Path) -> list[int]:
    """Ascending person numbers of a file that lists them apart by commas, such as exp/train_id.txt."""
    people = set()
    for word in read_text(path).replace("\n", ",").split(","):
        if word.strip():
            person = read_number(word.strip())
            if person is None:
                raise refuse(path, f"expected person numbers apart by commas, found {quote(word.strip())}")
            people.add(person)
    return sorted(people)


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One line of an index file."""

    image: str
    """Path below the dataset's folder."""
    person: int
    """Number of the person's folder."""
    label: int
    """Training number."""


def read_index(path: Path) -> Iterator[IndexLine]:
    """Lines such as `Visible/193/a.bmp 17`: a path below the dataset's folder and a label."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        image, _, word = line.strip(BLANKS).rpartition(" ")
        label = read_number(word)
        if not image or label is None:
            raise refuse(
                where, f"expected an image path and a whole number, found {quote(line.strip(BLANKS))}"
            )
        image = check_path(image.strip(BLANKS), where)
        person = read_number(image.split("/")[-2]) if "/" in image else None
        if person is None:
            raise refuse(where, f"expected a person's number as the folder of {quote(image)}")
        yield IndexLine(image, person, label)


def collect_labels(path: Path, lines: Iterable[IndexLine]) -> dict[int, int]:
    """{person: label} of the training lists; DataError unless people and labels 0..C-1 belong one to one."""
    labels: dict[int, int] = {}
    for line in lines:
        if labels.setdefault(line.person, line.label) != line.label:
            raise DataError(
                f"{path}: person {line.person} has the labels {labels[line.person]} and {line.label}; "
                "expected one for all of a person's images"
            )
    if sorted(labels.values()) != list(range(len(labels))):
        raise DataError(
            f"{path}: {len(labels)} people have labels from {min(labels.values())} to "
            f"{max(labels.values())}; expected each of 0..{len(labels) - 1} once"
        )
    return labels


def list_images(folder: Path, leftovers: Leftovers) -> list[str]:
    """Sorted file names of the images in a folder; none where it does not exist."""
    return [path.name for path in list_files(folder, SUFFIXES, leftovers)]


def list_times(folders: Iterable[Path], leftovers: Leftovers) -> list[str]:
    """Times of the folders and those in them: an image that comes or goes changes its folder's."""
    known = [folder for folder in folders if folder.is_dir()]
    found = [entry for folder in known for entry in (folder, *list_folders(folder, leftovers))]
    return sorted(f"{entry} {entry.stat().st_mtime_ns}" for entry in found)
