"""RegDB: 412 people with ten visible and ten thermal images each, in ten splits of 206 and 206.

Source: Nguyen et al., Person Recognition System Based on a Combination of Body Images from Visible Light and
Thermal Cameras, Sensors 2017; splits as published with AGW; captions of TVI-LFM, NeurIPS 2024.
Files: RegDB/{Visible, Thermal}/<person>/*.bmp, RegDB/idx/{train,test}_{visible,thermal}_<1..10>.txt (lines of
a path and a label) and, with text, RegDB/Text/Blip_{RGB,IR}/caption_llm_dict_Blip_{RGB,IR}.json or
caption_dict_*.json.

Training people are numbered by the labels of the file, as in the official checkpoints; elsewhere a person is
the number of the folder. Visible images have camera 1, thermal ones 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tpr.config.numbered_splits import NumberedSplit
from tpr.config.ranges import Range
from tpr.data.adapters.base import Counts
from tpr.data.adapters.visible_infrared import (
    VisibleInfraredAdapter,
    collect_labels,
    read_index,
)
from tpr.data.samples.sample import DatasetTask, Modality, Sample, Split

SPLITS: tuple[Split, ...] = ("train", "test")
KINDS: tuple[tuple[Modality, str, str], ...] = (
    ("visible", "Visible", "Blip_RGB"),
    ("infrared", "Thermal", "Blip_IR"),
)
"""Kind, folder of images, folder of captions."""


class RegDb(VisibleInfraredAdapter):
    """One of RegDB's ten splits."""

    @dataclass(frozen=True, kw_only=True)
    class Options(NumberedSplit):
        """Options of RegDB."""

        split: Annotated[int, Range(1, 10)] = 1
        """Which of the ten published splits, from 1."""

    name = "regdb"
    folders = ("RegDB", "regdb")
    layout = "RegDB/{Visible/, Thermal/, idx/*.txt, perhaps Text/}"
    counts = {"train": Counts(206, 4_120, None), "test": Counts(206, 4_120, None)}
    task = DatasetTask("visible_infrared", "regdb", needs_captions=False, is_ordered=True)

    def index_file(self, root: Path, split: Split, folder: str) -> Path:
        """The list of one split and kind."""
        return self.find_file(root, f"idx/{split}_{folder.lower()}_{self.options.split}.txt")

    def sources(self, root: Path) -> list[Path]:
        """Index and caption files."""
        files = [self.index_file(root, split, folder) for split in SPLITS for _, folder, _ in KINDS]
        return files + self.caption_files(root, *(texts for _, _, texts in KINDS))

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Visible images, then thermal ones, in file order."""
        base = self.folder(root).name
        self.require_folders(root, *(folder for _, folder, _ in KINDS))
        tables = self.read_tables(root, *(texts for _, _, texts in KINDS))
        training = [
            line for _, folder, _ in KINDS for line in read_index(self.index_file(root, "train", folder))
        ]
        self.labels = collect_labels(self.index_file(root, "train", "Visible"), training)
        for split in SPLITS:
            for camera, (modality, folder, _) in enumerate(KINDS, start=1):
                for line in read_index(self.index_file(root, split, folder)):
                    captions = tables[camera - 1].find(line.image)
                    captions = captions if split == "train" else captions[:1]
                    yield split, Sample(f"{base}/{line.image}", line.person, captions, camera, modality)
        self.note_texts(root, *tables)
