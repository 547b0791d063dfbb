"""A user's own data: one JSON object per line.

    {"image": "crops/0001.jpg", "identity": 7, "captions": ["A man ..."], "split": "train", "camera": 2}

`caption` may stand for a list of one, `camera` may be absent. Identities are numbers, or strings, which are
numbered in order of appearance; where no line has one, each picture is its own class. A line without
`split` is training data. Picture paths start at the folder of the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tpr.data.adapters.annotations import Record, check_path, read_lines
from tpr.data.adapters.base import Adapter, SubsetOptions
from tpr.data.sample import SPLITS, Sample, Split
from tpr.errors import ConfigError, DataError


class Jsonl(Adapter):
    """Any collection described line by line."""

    @dataclass(frozen=True, kw_only=True)
    class Options(SubsetOptions):
        """Options of a user's own data."""

        path: Path
        """The .jsonl file, or a folder that holds exactly one, below the data root."""
        label: str | None = None
        """Name in tables; absent: the name of the file's folder."""

        def __post_init__(self) -> None:
            super().__post_init__()
            try:
                check_path(str(self.path), "path")
            except DataError:
                raise ConfigError(f"path must lie below the data root, got '{self.path}'") from None

    name = "jsonl"
    layout = "one *.jsonl file"
    folders = ()
    counts = {}

    @property
    def label(self) -> str:
        """The option `label`, else the name of the folder."""
        path: Path = self.options.path
        folder = path.parent if path.suffix == ".jsonl" else path
        return str(self.options.label or folder.name or path.stem)

    def find_folder(self, root: Path) -> Path | None:
        """The folder of the file."""
        path: Path = root / self.options.path
        if path.suffix == ".jsonl":
            path = path.parent
        return path if path.is_dir() else None

    def folder(self, root: Path) -> Path:
        """The folder of the file; DataError if there is none."""
        found = self.find_folder(root)
        if found is None:
            raise self.not_found(root / self.options.path, root)
        return found

    def sources(self, root: Path) -> list[Path]:
        """The one file."""
        path: Path = root / self.options.path
        found = [path] if path.suffix == ".jsonl" else sorted(self.folder(root).glob("*.jsonl"))
        if len(found) > 1:
            raise DataError(f"{path}: found {len(found)} .jsonl files; name one in the option `path`")
        if not found or not found[0].is_file():
            raise self.not_found(found[0] if found else path / "*.jsonl", root)
        return found

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Lines in file order."""
        (path,) = self.sources(root)
        base = PurePosixPath(path.parent.relative_to(root).as_posix())
        names: dict[str, int] = {}
        first: type | None = None
        for number, record in enumerate(read_lines(path, ("image",))):
            identity = record.values.get("identity")
            first = first or type(identity)
            if type(identity) is not first:
                record.fail("'identity' must be a number in every line, a string in every line, or in none")
            self.has_identities = identity is not None
            identity = number if identity is None else read_identity(record, names)
            camera = record.integer("camera") if record.values.get("camera") is not None else -1
            if not -1 <= camera < 2**15:
                record.fail(f"'camera' must lie in 0..32767, found {camera}")
            image = str(base / record.picture("image"))
            yield read_split(record), Sample(image, identity, read_captions(record), camera)


def read_split(record: Record) -> Split:
    """The line's split; training where there is none."""
    name = record.text("split") if "split" in record.values else "train"
    if name not in SPLITS:
        record.fail(f"'split' must be one of {', '.join(SPLITS)}, found '{name}'")
    return SPLITS[SPLITS.index(name)]


def read_identity(record: Record, names: dict[str, int]) -> int:
    """A number as it is; a string by its order of appearance, kept in `names`."""
    if isinstance(record.values["identity"], str):
        return names.setdefault(record.text("identity"), len(names))
    return record.integer("identity")


def read_captions(record: Record) -> tuple[str, ...]:
    """`captions`, or the one `caption`; none is allowed, such a picture is searched but not trained on."""
    if "captions" in record.values:
        return record.texts("captions")
    return (record.text("caption"),) if "caption" in record.values else ()
