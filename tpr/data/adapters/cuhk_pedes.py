"""CUHK-PEDES: 13,003 people from five older collections, two captions per image.

Source: Li et al., Person Search with Natural Language Description, CVPR 2017.
Files: CUHK-PEDES/reid_raw.json (records with split, captions, file_path, id) or caption_all.json (the same
without split), and CUHK-PEDES/imgs/{cam_a, cam_b, CUHK01, CUHK03, Market, test_query, train_query}/.

The published ranges 1..11003 (train), 11004..12003 and 12004..13003 (test) are those of reid_raw.json, whose
identities follow the splits. The caption_all.json that is sent on request numbers its identities otherwise:
ranges would cut it anywhere. So a file without `split` is cut by ranges only if it is seen to have the first
numbering, and else needs the option `splits`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpr.data.adapters.annotations import (
    Record,
    check_path,
    check_records,
    describe,
    describe_whole,
    read_json,
    read_split,
    refuse,
    show,
)
from tpr.data.adapters.base import Counts
from tpr.data.adapters.benchmark import BenchmarkAdapter
from tpr.data.samples.sample import SPLITS, Split
from tpr.errors import ConfigError, DataError

LAST_TRAINING_IDENTITY = 11_003
LAST_VALIDATION_IDENTITY = 12_003
KNOWN = {"train_query/p11600_s14885.jpg": 11_003, "test_query/p10376_s14337.jpg": 11_071}
"""Images and their identities in reid_raw.json; the second has identity 1 in caption_all.json."""
REMEDY = (
    "fetch reid_raw.json, or set the option `splits` to it or to a JSON file "
    '{"test": [image paths], "val": [image paths]}'
)


class CuhkPedes(BenchmarkAdapter):
    """CUHK-PEDES in both forms of its annotation."""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Options of CUHK-PEDES."""

        splits: Path | None = None
        """File below the data root that has the split of each image: reid_raw.json or lists of paths."""

        def __post_init__(self) -> None:
            if self.splits is not None:
                try:
                    check_path(str(self.splits), "splits")
                except DataError:
                    raise ConfigError(f"splits must lie below the data root, got '{self.splits}'") from None

    name = "cuhk_pedes"
    folders = ("CUHK-PEDES", "CUHK_PEDES")
    files = ("reid_raw.json", "caption_all.json")
    layout = "CUHK-PEDES/{imgs/, reid_raw.json or caption_all.json}"
    has_split_key = False
    counts = {
        "train": Counts(11_003, 34_054, 68_126),
        "val": Counts(1_000, 3_078, 6_158),
        "test": Counts(1_000, 3_074, 6_156),
    }

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.lists: SplitLists | None = None

    def sources(self, root: Path) -> list[Path]:
        """The annotation file and, where the option names one, that of the splits."""
        named: Path | None = self.options.splits
        if named is None:
            return super().sources(root)
        places = [root / named, self.folder(root) / named]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise DataError(
                f"{places[0]} not found, which the option `splits` names; give its path below {root}"
            )
        return [*super().sources(root), found]

    def prepare(self, root: Path, records: Sequence[Record]) -> None:
        """Read the lists of splits, or make sure that the published ranges hold."""
        unsplit = [record for record in records if "split" not in record.values]
        if self.options.splits is not None:
            self.lists = read_lists(self.sources(root)[1])
            self.notes += self.lists.compare({self.image_of(record) for record in records})
        elif unsplit:
            doubt = doubt_numbering({self.image_of(record): record for record in unsplit})
            if doubt:
                raise refuse(
                    records[0].path,
                    f"{len(unsplit):,} records have no 'split', and {doubt}, so that the published ranges of "
                    f"identities would cut wrongly; {REMEDY}",
                )

    def choose_split(self, record: Record) -> Split:
        """By the lists that the option names, the record's own split, or the range of its identity."""
        if self.lists is not None:
            return self.lists.choose(record, self.image_of(record))
        if "split" in record.values:
            return super().choose_split(record)
        identity = record.integer("id")
        if identity <= LAST_TRAINING_IDENTITY:
            return "train"
        return "val" if identity <= LAST_VALIDATION_IDENTITY else "test"


def doubt_numbering(records: Mapping[str, Record]) -> str:
    """Why identities may not be numbered as in reid_raw.json; empty where they are. records: by image.

    The known images decide. A part of the file without them passes where all its train_query/ stands in the
    training range and all its test_query/ beyond, as around the border in reid_raw.json.
    """
    known = [(records[image], image, identity) for image, identity in KNOWN.items() if image in records]
    for record, image, identity in known:
        found = record.integer("id")
        if found != identity:
            where = f"{record.kind} {record.number}"
            return f"{where} gives {image} the identity {found}, which is {identity} in reid_raw.json"
    if known:
        return ""
    folders = set()
    for image, record in records.items():
        folder, trains = image.split("/")[0], record.integer("id") <= LAST_TRAINING_IDENTITY
        folders.add(folder)
        if folder in ("train_query", "test_query") and trains != (folder == "train_query"):
            return f"{record.kind} {record.number} has identity {record.values['id']} in {folder}/"
    if {"train_query", "test_query"} <= folders:
        return ""
    return "nothing shows that their identities are numbered as in reid_raw.json"


@dataclass(frozen=True)
class SplitLists:
    """The split of each image, read from a file."""

    path: Path
    splits: Mapping[str, Split]
    is_whole: bool
    """Whether every image must be listed; else those that are not are training data."""

    def choose(self, record: Record, image: str) -> Split:
        """The image's split; DataError where it must be listed and is not."""
        split = self.splits.get(image)
        if split is None and self.is_whole:
            record.fail(f"the image {show(image)} has no split in {self.path}")
        return split or "train"

    def compare(self, images: set[str]) -> list[str]:
        """A line about listed images that there are not; DataError where there is none at all."""
        absent = [image for image in self.splits if image not in images]
        if len(absent) == len(self.splits):
            first = f", the first is {show(absent[0])}" if absent else ""
            raise refuse(self.path, f"lists no image of the annotation{first}; expected paths below imgs/")
        if not absent:
            return []
        return [
            f"{self.path}: {len(absent):,} listed images are not annotated, the first is {show(absent[0])}"
        ]


def read_lists(path: Path) -> SplitLists:
    """Splits from records with split and file_path, or from lists of paths. DataError in one line."""
    content = read_json(path)
    if isinstance(content, list):
        records = check_records(path, content, ("split", "file_path"))
        listed = [(read_split(record), record.image("file_path")) for record in records]
        return SplitLists(path, collect(path, listed), is_whole=True)
    if not isinstance(content, dict) or "test" not in content or not content.keys() <= set(SPLITS):
        expected = 'records with split, file_path or {"test": [image paths], "val": [image paths]}'
        raise refuse(path, f"found {describe_whole(content)}; expected {expected}")
    listed = []
    for split in SPLITS:
        images = content.get(split, [])
        if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise refuse(path, f"'{split}' must be a list of image paths, found {describe(images)}")
        listed += [(split, check_path(image, f"{path}: {split}")) for image in images]
    return SplitLists(path, collect(path, listed), is_whole="train" in content)


def collect(path: Path, listed: Iterable[tuple[Split, str]]) -> dict[str, Split]:
    """The split of each listed image; DataError where one has two."""
    splits: dict[str, Split] = {}
    for split, listed_path in listed:
        image = listed_path.removeprefix("imgs/")
        if splits.setdefault(image, split) != split:
            raise refuse(path, f"the image {show(image)} is listed for {splits[image]} and for {split}")
    return splits
