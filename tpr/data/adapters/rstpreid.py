"""RSTPReid: 4,101 people of MSMT17, five images each from different cameras, two captions per image.

Source: Zhu et al., DSSL: Deep Surroundings-person Separation Learning for Text-based Person Retrieval,
ACM Multimedia 2021.
Files: RSTPReid/data_captions.json (records with id, img_path, captions, split) and the flat folder
RSTPReid/imgs/. An early release had 3,901 / 100 / 100 identities instead of 3,701 / 200 / 200; it is
recognised, and `split: published` cuts it anew by the published identity ranges, which hold for the whole
file alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpr.data.adapters.annotations import Record
from tpr.data.adapters.base import Counts
from tpr.data.adapters.benchmark import BenchmarkAdapter
from tpr.data.samples.sample import Split
from tpr.errors import DataError

IDENTITIES = 4_101
LAST_TRAINING_IDENTITY = 3_700
LAST_VALIDATION_IDENTITY = 3_900
FAULTY = {"train": 3_901, "val": 100, "test": 100}


class RstpReid(BenchmarkAdapter):
    """RSTPReid with a guard against its faulty first release."""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Options of RSTPReid."""

        split: Literal["file", "published"] = "file"
        """Take each record's own split, or cut by the published identity ranges."""

    name = "rstpreid"
    folders = ("RSTPReid", "RSTPReID")
    files = ("data_captions.json",)
    path_key = "img_path"
    layout = "RSTPReid/{imgs/, data_captions.json}"
    counts = {
        "train": Counts(3_701, 18_505, 37_010),
        "val": Counts(200, 1_000, 2_000),
        "test": Counts(200, 1_000, 2_000),
    }

    def prepare(self, root: Path, records: Sequence[Record]) -> None:
        """The published ranges cut nothing but identities 0..4100."""
        if self.options.split == "file":
            return
        found = sorted({record.integer("id") for record in records})
        if found != list(range(IDENTITIES)):
            raise DataError(
                f"{records[0].path}: `split: published` cuts a file of the identities 0..{IDENTITIES - 1}, "
                f"found {len(found):,} from {found[0]} to {found[-1]}; fetch the whole file or set "
                "`split: file`"
            )

    def choose_split(self, record: Record) -> Split:
        """The record's own split, or the published range that its identity falls in."""
        if self.options.split == "file":
            return super().choose_split(record)
        identity = record.integer("id")
        if identity <= LAST_TRAINING_IDENTITY:
            return "train"
        return "val" if identity <= LAST_VALIDATION_IDENTITY else "test"

    def review(self, found: Mapping[Split, Counts]) -> list[str]:
        """A warning about the faulty release."""
        if {split: counts.identities for split, counts in found.items()} != FAULTY:
            return []
        return [
            "this is the faulty first release with 3901/100/100 identities in train/val/test, the corrected "
            "one has 3701/200/200; fetch it, or set `split: published` to cut by identity ranges"
        ]
