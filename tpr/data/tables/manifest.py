"""The manifest of an entry folder: which files it holds, what they must be, and how they were made.

It is written last, so a folder without one is no entry.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tpr.data.samples.sample import SPLITS, Split
from tpr.data.tables.checksums import Checksum, read_sealed, verify_file, write_sealed
from tpr.errors import DataError

MANIFEST = "manifest.json"
FORMAT = 2
"""Raise it whenever columns or files of an entry change."""
WITHOUT_CHECKSUMS = 1
"""Format of packed datasets that are still read, though nothing in them can be verified."""


@dataclass(frozen=True)
class SplitFiles:
    """What the manifest knows of one split."""

    files: list[str]
    rows: int
    captions: int
    identities: int
    fingerprint: str
    checksums: dict[str, Checksum] = field(default_factory=dict)
    """By name, of the Arrow files and of the index arrays."""
    repeats: int = 0
    """Records that named an image again and were joined to the first."""


@dataclass(frozen=True)
class Manifest:
    """Contents of an entry folder."""

    adapter: str
    version: int
    options: dict[str, Any]
    has_identities: bool
    notes: list[str] = field(default_factory=list)
    """What parsing did to the annotation, such as repairs."""
    warnings: list[str] = field(default_factory=list)
    """What the user should change; said at every start."""
    splits: dict[Split, SplitFiles] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def has_checksums(self) -> bool:
        """Whether damage would be found."""
        return self.format != WITHOUT_CHECKSUMS


def index_names(split: Split) -> tuple[str, str]:
    """Files of a split's identities and of its captions' offsets."""
    return f"{split}.identity.npy", f"{split}.offsets.npy"


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the folder an entry."""
    write_sealed(folder / MANIFEST, asdict(manifest))


def load_manifest(folder: Path) -> Manifest:
    """The manifest of an entry. Raises DataError if there is none that this version understands."""
    path = folder / MANIFEST
    content = read_sealed(path, older_format=WITHOUT_CHECKSUMS)
    try:
        found = content["format"]
        if found not in (WITHOUT_CHECKSUMS, FORMAT):
            raise DataError(f"{folder}: format {found}, this version of tpr reads format {FORMAT}")
        written = content.pop("splits")
        splits = {split: _read_split(written[split]) for split in SPLITS if split in written}
        manifest = Manifest(**content, splits=splits)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    for split, known in splits.items():
        _check_names(path, [*known.files, *index_names(split)], known, has_checksums=manifest.has_checksums)
    return manifest


def _read_split(written: dict[str, Any]) -> SplitFiles:
    sums = {name: Checksum.from_plain(**known) for name, known in written.get("checksums", {}).items()}
    known = SplitFiles(**{**written, "checksums": sums})
    if not all(isinstance(number, int) for number in (known.rows, known.captions, known.identities)):
        raise TypeError("a count is not a number")
    return known


def _check_names(path: Path, names: list[str], known: SplitFiles, *, has_checksums: bool) -> None:
    if any(Path(name).name != name for name in names):
        raise DataError(f"{path}: a file name leads out of the folder")
    if has_checksums and set(names) != set(known.checksums):
        raise DataError(f"{path}: cannot be read (checksums and files differ)")


def verify_split(folder: Path, manifest: Manifest, split: Split) -> None:
    """Raise DataError that begins with a file's path unless all files of a split are as they were written.

    The images of a packed dataset are left out: `read_packed` verifies each as it is read.
    """
    for name, checksum in manifest.splits[split].checksums.items():
        verify_file(folder / name, checksum)
