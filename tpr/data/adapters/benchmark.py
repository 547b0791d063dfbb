"""The form that CUHK-PEDES, ICFG-PEDES and RSTPReid share: one JSON list beside a folder `imgs/`."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tpr.data.adapters.annotations import Record, read_records
from tpr.data.adapters.base import Adapter
from tpr.data.sample import Sample, Split


class BenchmarkAdapter(Adapter):
    """Records with split, captions, a picture path below `imgs/` and an identity."""

    files: ClassVar[tuple[str, ...]]
    """Accepted annotation file names; the first that exists is read."""
    path_key: ClassVar[str] = "file_path"
    """Key of the picture path."""
    has_split_key: ClassVar[bool] = True
    """False where a file without the key `split` is accepted; `choose_split` then decides."""

    def sources(self, root: Path) -> list[Path]:
        """The one annotation file."""
        return [self.find_file(root, *self.files)]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Records in file order."""
        (path,) = self.sources(root)
        base = f"{path.parent.name}/imgs"
        if not (path.parent / "imgs").is_dir():
            raise self.not_found(path.parent / "imgs", root)
        keys = ("split",) * self.has_split_key + ("captions", self.path_key, "id")
        for record in read_records(path, keys):
            image = record.picture(self.path_key).removeprefix("imgs/")
            sample = Sample(f"{base}/{image}", record.integer("id"), record.texts("captions"))
            yield self.choose_split(record), sample

    def choose_split(self, record: Record) -> Split:
        """What the record says: train and test, lower-cased, and val for everything else."""
        name = record.text("split").strip().lower()
        if name == "train":
            return "train"
        return "test" if name == "test" else "val"
