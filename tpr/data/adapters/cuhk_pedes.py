"""CUHK-PEDES: 13,003 persons from five older collections, two captions per picture.

Source: Li et al., Person Search with Natural Language Description, CVPR 2017.
Files: CUHK-PEDES/reid_raw.json (records with split, captions, file_path, id) or caption_all.json (the same
without split), and CUHK-PEDES/imgs/{cam_a, cam_b, CUHK01, CUHK03, Market, test_query, train_query}/.

A record without split gets it from its identity by the published ranges 1..11003, 11004..12003 and
12004..13003. The ranges hold for a part of the file as well: a part with low identities is all training
data.
"""

from tpr.data.adapters.annotations import Record
from tpr.data.adapters.base import Counts
from tpr.data.adapters.benchmark import BenchmarkAdapter
from tpr.data.sample import Split

LAST_TRAINING_IDENTITY = 11_003
LAST_VALIDATION_IDENTITY = 12_003


class CuhkPedes(BenchmarkAdapter):
    """CUHK-PEDES in both forms of its annotation."""

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

    def choose_split(self, record: Record) -> Split:
        """The record's own split, else the published range that its identity falls in."""
        if "split" in record.values:
            return super().choose_split(record)
        identity = record.integer("id")
        if identity <= LAST_TRAINING_IDENTITY:
            return "train"
        return "val" if identity <= LAST_VALIDATION_IDENTITY else "test"
