"""ICFG-PEDES: 4,102 people of MSMT17, one long fine-grained caption per image.

Source: Ding et al., Semantically Self-Aligned Network for Text-to-Image Part-aware Person
Re-identification, 2021.
Files: ICFG-PEDES/ICFG-PEDES.json or ICFG_PEDES.json (records with split, captions, file_path, id) and
ICFG-PEDES/imgs/{train, test}/. The image folders are MSMT17's and are not the split. There is no
validation split.
"""

from tpr.data.adapters.base import Counts
from tpr.data.adapters.benchmark import BenchmarkAdapter


class IcfgPedes(BenchmarkAdapter):
    """ICFG-PEDES under both names of its annotation file."""

    name = "icfg_pedes"
    folders = ("ICFG-PEDES", "ICFG_PEDES")
    files = ("ICFG-PEDES.json", "ICFG_PEDES.json")
    layout = "ICFG-PEDES/{imgs/, ICFG-PEDES.json or ICFG_PEDES.json}"
    counts = {
        "train": Counts(3_102, 34_674, 34_674),
        "test": Counts(1_000, 19_848, 19_848),
    }
