"""The form that CUHK-PEDES, ICFG-PEDES and RSTPReid share: one JSON list next to a folder `imgs/`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from tpr.data.adapters.annotations import FirstRecords, Record, read_records, read_split
from tpr.data.adapters.base import Adapter
from tpr.data.samples.sample import Sample, Split


class BenchmarkAdapter(Adapter):
    """Records with split, captions, an image path below `imgs/` and an identity."""

    files: ClassVar[tuple[str, ...]]
    """Accepted annotation file names; the first that exists is read."""
    path_key: ClassVar[str] = "file_path"
    """Key of the image path."""
    has_split_key: ClassVar[bool] = True
    """False where a file without the key `split` is accepted; `choose_split` then decides."""

    def sources(self, root: Path) -> list[Path]:
        """The one annotation file."""
        return [self.find_file(root, *self.files)]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Records in file order."""
        path, *_ = self.sources(root)
        base = f"{path.parent.name}/imgs"
        if not (path.parent / "imgs").is_dir():
            raise self.not_found(path.parent / "imgs", root)
        keys = ("split",) * self.has_split_key + ("captions", self.path_key, "id")
        records = list(read_records(path, keys))
        self.prepare(root, records)
        images = FirstRecords()
        for record in records:
            image, identity, split = self.image_of(record), record.integer("id"), self.choose_split(record)
            images.find(record, image, identity=identity, split=split)
            yield split, Sample(f"{base}/{image}", identity, record.texts("captions"))

    def image_of(self, record: Record) -> str:
        """The record's image path below `imgs/`."""
        return record.image(self.path_key).removeprefix("imgs/")

    def prepare(self, root: Path, records: Sequence[Record]) -> None:
        """Look at the whole file before splits are chosen. DataError where they would be wrong."""

    def choose_split(self, record: Record) -> Split:
        """What the record says. DataError for another word than train, val or test."""
        return read_split(record)
