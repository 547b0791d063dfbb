"""A user's own data: one JSON object per line.

    {"image": "crops/0001.jpg", "identity": 7, "captions": ["A man ..."], "split": "train", "camera": 2}

`caption` may stand for a list of one, `camera` may be absent. Identities are numbers, or strings, which are
numbered in order of appearance; where no line has one, each image is its own class. A line without
`split` is training data. Image paths start at the folder of the file. An image may stand in several lines,
such as one per caption: they become one sample, and must agree on all but the captions. `attributes`, such
as {"gender": "woman"}, gives values that the option of this name declares; what is absent or null is unknown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tpr.data.adapters.annotations import (
    FirstRecords,
    Record,
    check_option_path,
    describe,
    read_lines,
    read_split,
    show,
)
from tpr.data.adapters.base import Adapter, SubsetOptions
from tpr.data.samples.sample import Attribute, DatasetTask, Sample, Split
from tpr.data.tables.walks import list_files
from tpr.errors import DataError

MOST_CAMERAS = 2**15
KINDS = {int: "a number", str: "a string", type(None): "none"}
"""What a line may have for an identity, in words."""


class Jsonl(Adapter):
    """Any collection described line by line."""

    @dataclass(frozen=True, kw_only=True)
    class Options(SubsetOptions):
        """Options of a user's own data."""

        path: Path
        """The .jsonl file, or a folder that holds exactly one, below the data root."""
        label: str | None = None
        """Name in tables; absent: the name of the file's folder."""
        attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
        """Names of attributes with the values that each may have, such as {gender: [woman, man]}."""

        def __post_init__(self) -> None:
            check_option_path(self.path)

    name = "jsonl"
    layout = "one *.jsonl file"
    folders = ()
    counts = {}

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        declared = self.options.attributes.items()
        self.task = DatasetTask(attributes=tuple(Attribute(name, values) for name, values in declared))

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

    @property
    def place(self) -> Path:
        """What the option `path` names."""
        path: Path = self.options.path
        return path

    def sources(self, root: Path) -> list[Path]:
        """The one file."""
        path: Path = root / self.options.path
        found = (
            [path] if path.suffix == ".jsonl" else list_files(self.folder(root), (".jsonl",), self.leftovers)
        )
        if len(found) > 1:
            raise DataError(f"{path}: found {len(found)} .jsonl files; name one in the option `path`")
        if not found or not found[0].is_file():
            raise self.not_found(found[0] if found else path / "*.jsonl", root)
        return found

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Lines in file order."""
        (path,) = self.sources(root)
        base = PurePosixPath(path.parent.relative_to(root).as_posix())
        identities = Identities()
        images = FirstRecords()
        for record in read_lines(path, ("image",)):
            image = str(base / record.image("image", path.parent))
            identity, camera = identities.read(record), read_camera(record)
            split = read_split(record) if "split" in record.values else "train"
            labels = read_attributes(record, self.task.attributes)
            facts = {"identity": identity, "split": split, "camera": camera, "attributes": labels}
            number = images.find(record, image, **facts)
            self.has_identities = identity is not None
            captions = read_captions(record)
            own = number if identity is None else identities.number(identity)
            yield split, Sample(image, own, captions, -1 if camera is None else camera, attributes=labels)


class Identities:
    """Identities of a file, which are all of one kind."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.kind: type | None = None
        self.first = 0
        """Line that decided the kind."""

    def read(self, record: Record) -> int | str | None:
        """The line's identity, None where no line has one. DataError where lines differ in kind."""
        lacking = record.lacks("identity")
        value = None if lacking else record.values["identity"]
        kind = type(None) if lacking else str if isinstance(value, str) else int
        if self.kind is None:
            self.kind, self.first = kind, record.number
        if kind is not self.kind:
            found = "nothing" if "identity" not in record.values else describe(record.values["identity"])
            what = f"it is missing: found {found}" if lacking else f"found {found}"
            record.fail(
                "'identity' must be a number in every line, a string in every line, or in none; "
                f"here {what}, line {self.first} has {KINDS[self.kind]}"
            )
        if kind is int:
            return record.integer("identity")
        return record.text("identity") if kind is str else None

    def number(self, identity: int | str) -> int:
        """A number as it is; a string by its order of appearance."""
        if isinstance(identity, str):
            return self.numbers.setdefault(identity, len(self.numbers))
        return identity


def read_camera(record: Record) -> int | None:
    """The line's camera, None where it has none."""
    if record.lacks("camera"):
        return None
    camera = record.integer("camera")
    if not -1 <= camera < MOST_CAMERAS:
        record.fail(f"'camera' must lie in 0..{MOST_CAMERAS - 1}, found {camera}")
    return camera


def read_captions(record: Record) -> tuple[str, ...]:
    """`captions`, or the one `caption`; none is allowed, such an image is searched but not trained on."""
    if "captions" in record.values:
        return record.texts("captions")
    return (record.text("caption"),) if "caption" in record.values else ()


def read_attributes(record: Record, declared: Sequence[Attribute]) -> tuple[int, ...]:
    """The line's labels of all declared attributes. DataError for a name or a value that is not declared."""
    given = {} if record.lacks("attributes") or not declared else record.values["attributes"]
    if not isinstance(given, dict):
        record.fail(f"'attributes' must be names with values, found {describe(given)}")
    names = [attribute.name for attribute in declared]
    for name in given:
        if name not in names:
            record.fail(f"the attribute {show(name)} is not declared; known: {', '.join(names)}")
    return tuple(find_label(record, attribute, given.get(attribute.name)) for attribute in declared)


def find_label(record: Record, attribute: Attribute, value: Any) -> int:
    """Number of a value, -1 where it is not known."""
    if value is not None and value not in attribute.values:
        known = ", ".join(attribute.values)
        record.fail(f"the attribute {show(attribute.name)} is {describe(value)}; known: {known}")
    return -1 if value is None else attribute.values.index(value)
