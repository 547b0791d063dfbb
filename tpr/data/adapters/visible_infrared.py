"""What SYSU-MM01, RegDB and LLCM share: index files, folders of pictures, and captions in a folder `Text`.

`Text` may be absent as a whole: the pictures then have no captions, which training on pictures alone does
without. A part of it that is missing is an error. A caption file's keys may carry any folders before the last
three parts of a path (the published ones begin with `datasets/regdb/` or with a path of another machine).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tpr.data.adapters.annotations import check_path, describe, read_object, read_text
from tpr.data.adapters.base import Adapter
from tpr.data.array_files import map_array_file
from tpr.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
NO_TEXT = "there is no folder Text: the pictures have no captions"


class VisibleInfraredAdapter(Adapter):
    """A set of visible and infrared pictures, with or without captions."""

    def text_folder(self, root: Path) -> Path | None:
        """The set's folder `Text`, None if there is none."""
        folder = self.folder(root) / "Text"
        return folder if folder.is_dir() else None

    def find_text(self, root: Path, folder: str, *names: str) -> Path:
        """The first of these files in a folder of `Text`; DataError naming the first if there is none."""
        return self.find_file(root, *(f"Text/{folder}/{name}" for name in names))

    def caption_dictionary(self, root: Path, folder: str) -> Path:
        """The JSON file of a folder of `Text` that has captions by picture, rather with rephrasings."""
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
        """Raise DataError for a missing folder of pictures."""
        for name in names:
            if not (self.folder(root) / name).is_dir():
                raise self.not_found(self.folder(root) / name, root)

    def note_texts(self, root: Path, *tables: "CaptionTable") -> None:
        """Tell what captions were missing; DataError if a file has none of the pictures at all."""
        if self.text_folder(root) is None:
            self.notes.append(NO_TEXT)
        for table in tables:
            self.notes += table.review()


@dataclass
class CaptionTable:
    """Captions by picture: the description and, in some files, its rephrasing by a language model."""

    path: Path | None = None
    """None: there are no captions."""
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Pictures that were looked up and have no caption."""
    found: int = 0

    @classmethod
    def read(cls, path: Path) -> "CaptionTable":
        """A caption file. Raises DataError in one line."""
        return cls(path, read_captions(path))

    def find(self, *names: str) -> tuple[str, ...]:
        """The captions of a picture under the first of these names that is known."""
        if self.path is None:
            return ()
        for name in names:
            if name in self.captions:
                self.found += 1
                return self.captions[name]
        self.missing.append(names[0])
        return ()

    def review(self) -> list[str]:
        """A line about missing captions. Raises DataError where no picture has any."""
        if not self.missing:
            return []
        if not self.found:
            raise DataError(
                f"{self.path}: no key names a picture of the set; the first ends in "
                f"'{next(iter(self.captions))}', expected paths that end in such as '{self.missing[0]}'"
            )
        return [
            f"{self.path}: {len(self.missing):,} pictures have no caption, the first is {self.missing[0]}"
        ]


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """{last three parts of the key: (description, rephrasing if there is one)}."""
    captions = {}
    for key, value in read_object(path, "{picture path: {description, aug_description}}").items():
        parts = value if isinstance(value, dict) else {"description": value}
        texts = tuple(parts[name] for name in ("description", "aug_description") if name in parts)
        if "description" not in parts or not all(isinstance(text, str) for text in texts):
            raise DataError(
                f"{path}: picture '{key}': expected a 'description' and perhaps an 'aug_description', "
                f"both strings, found {describe(value)}"
            )
        captions["/".join(key.replace("\\", "/").split("/")[-3:])] = texts
    return captions


def read_identity_captions(path: Path) -> dict[int, tuple[str, ...]]:
    """{person: captions of all the person's visible pictures}."""
    captions = {}
    for key, value in read_object(path, "{person: [captions]}").items():
        if not key.isdecimal():
            raise DataError(f"{path}: expected person numbers as keys, found '{key}'")
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise DataError(f"{path}: person {key}: expected a list of strings, found {describe(value)}")
        captions[int(key)] = tuple(value)
    return captions


def read_text_array(path: Path, count: int) -> list[str]:
    """The strings of a .npy file, one per picture. Raises DataError for another kind or number."""
    array = map_array_file(path)
    if array.dtype.kind != "U" or array.ndim != 1:
        raise DataError(
            f"{path}: holds {array.dtype} of shape {list(array.shape)}, expected strings in one row"
        )
    if len(array) != count:
        raise DataError(
            f"{path}: has {len(array):,} entries, but there are {count:,} pictures; their order must agree"
        )
    return [str(text) for text in array]


def read_people(path: Path) -> list[int]:
    """Ascending person numbers of a file that lists them apart by commas, such as exp/train_id.txt."""
    words = [word.strip() for word in read_text(path).replace("\n", ",").split(",") if word.strip()]
    strange = next((word for word in words if not word.isdecimal()), None)
    if strange is not None:
        raise DataError(f"{path}: expected person numbers apart by commas, found '{strange[:40]}'")
    return sorted({int(word) for word in words})


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One line of an index file."""

    image: str
    """Path below the set's folder."""
    person: int
    """Number of the person's folder."""
    label: int
    """Training number."""


def read_index(path: Path) -> Iterator[IndexLine]:
    """Lines such as `Visible/193/a.bmp 17`: a path below the set's folder and a label."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        image, _, label = line.strip().rpartition(" ")
        if not image or not label.isdecimal():
            raise DataError(
                f"{where}: expected a picture path and a whole number, found '{line.strip()[:60]}'"
            )
        image = check_path(image.strip(), where)
        person = image.split("/")[-2] if "/" in image else ""
        if not person.isdecimal():
            raise DataError(f"{where}: expected a person's number as the folder of '{image}'")
        yield IndexLine(image, int(person), int(label))


def collect_labels(path: Path, lines: Iterable[IndexLine]) -> dict[int, int]:
    """{person: label} of the training lists; DataError unless persons and labels 0..C-1 belong one to one."""
    labels: dict[int, int] = {}
    for line in lines:
        if labels.setdefault(line.person, line.label) != line.label:
            raise DataError(
                f"{path}: person {line.person} has the labels {labels[line.person]} and {line.label}; "
                "expected one for all of a person's pictures"
            )
    if sorted(labels.values()) != list(range(len(labels))):
        raise DataError(
            f"{path}: {len(labels)} persons have labels from {min(labels.values())} to "
            f"{max(labels.values())}; expected each of 0..{len(labels) - 1} once"
        )
    return labels


def list_pictures(folder: Path) -> list[str]:
    """Sorted file names of the pictures in a folder; none where it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES)


def list_times(folders: Iterable[Path]) -> list[str]:
    """Times of the folders and those in them: a picture that comes or goes changes its folder's."""
    known = [folder for folder in folders if folder.is_dir()]
    found = [entry for folder in known for entry in (folder, *folder.iterdir()) if entry.is_dir()]
    return sorted(f"{entry} {entry.stat().st_mtime_ns}" for entry in found)
