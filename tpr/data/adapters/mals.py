"""MALS: 1.5 M generated images with one caption and 27 attribute labels each, no identities.

Source: Yang et al., Towards Unified Text-based Person Retrieval: A Large-scale Multi-Attribute and Language
Search Benchmark, ACM Multimedia 2023.
Files: 91 lists gene_attrs/*_attrs.json in MALS/, in the data root or below finetune/ (records with image,
caption, image_id, label) and images MALS/gene_crop/<subset>/<n>.jpg. Captions and images are joined on
the last three parts of the path; images may also lie in images/MALS/ or without the prefix gene_crop/.
Labels are 0, 1 or -1 (unknown), where 0 means that the person has the accessory or colour. They were made
from the captions, so that the first one (0 woman, 1 man) shows whether a file has them in this order.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpr.data.adapters.annotations import Record, read_records
from tpr.data.adapters.base import Adapter, Counts, SubsetOptions
from tpr.data.samples.sample import Attribute, DatasetTask, Sample, Split
from tpr.data.tables.walks import list_files

WORN = ("yes", "no")
ATTRIBUTES = (
    Attribute("gender", ("woman", "man")),
    Attribute("age", ("child", "adult")),
    Attribute("hair length", ("short", "long")),
    *(Attribute(thing, WORN) for thing in ("hat", "backpack", "handbag", "bag")),
    Attribute("sleeve length", ("long", "short")),
    Attribute("lower length", ("long", "short")),
    Attribute("lower type", ("dress or skirt", "pants or shorts")),
    *(
        Attribute(f"upper {colour}", WORN)
        for colour in ["black", "white", "red", "purple", "yellow", "blue", "green", "gray"]
    ),
    *(
        Attribute(f"lower {colour}", WORN)
        for colour in ["black", "white", "purple", "yellow", "blue", "green", "pink", "gray", "brown"]
    ),
)
"""In published order; label 0 means that the person has the thing or the colour."""
PREFIX = "gene_crop"
WORDS = re.compile(r"\b(?:(woman|women|girl|lady)|man|men|boy|guy)\b", re.IGNORECASE)
"""Words that tell the first label, those for 0 as a group."""
FEWEST_TOLD = 20
BASES = ("MALS/gene_crop", "MALS", "images/MALS/gene_crop", "images/MALS")


class Mals(Adapter):
    """MALS with its attribute labels."""

    @dataclass(frozen=True, kw_only=True)
    class Options(SubsetOptions):
        """Options of MALS."""

        files: tuple[str, ...] = ()
        """Annotation files to read, such as g_4x_attrs.json; absent: all."""

    name = "mals"
    folders = ("MALS", "images/MALS")
    layout = "MALS/{gene_attrs/*.json, gene_crop/}"
    counts = {"train": Counts(None, 1_510_330, 1_510_330)}
    task = DatasetTask(attributes=ATTRIBUTES)

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.told = 0
        """Captions that tell the first label."""
        self.contradicted = 0

    def sources(self, root: Path) -> list[Path]:
        """The annotation files."""
        folder = self.folder(root)
        places = [base / name for base in (folder, root) for name in ("gene_attrs", "finetune/gene_attrs")]
        place = next((place for place in places if place.is_dir()), places[0])
        found = [place / name for name in self.options.files] or list_files(place, (".json",), self.leftovers)
        missing = [path for path in found if not path.is_file()] if found else [place / "g_4x_attrs.json"]
        if missing:
            raise self.not_found(missing[0], root)
        return found

    def describe_state(self, root: Path) -> list[str]:
        """The folders that hold image folders."""
        return [base for base in BASES if (root / base).is_dir()]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Records in the order of the sorted files."""
        self.has_identities = False
        bases: dict[str, str] = {}
        number = 0
        for path in self.sources(root):
            for record in read_records(path, ("image", "caption")):
                parts = [part for part in record.image("image").split("/")[-3:] if part != PREFIX]
                if len(parts) < 2:
                    record.fail("'image' must end in gene_crop/<subset>/<file>")
                subset, name = parts[-2:]
                if subset not in bases:
                    bases[subset] = next(
                        (base for base in BASES if (root / base / subset).is_dir()), BASES[0]
                    )
                image = f"{bases[subset]}/{subset}/{name}"
                caption, labels = record.text("caption"), read_labels(record)
                self.compare(caption, labels)
                yield "train", Sample(image, number, (caption,), attributes=labels)
                number += 1

    def compare(self, caption: str, labels: tuple[int, ...]) -> None:
        """Count whether the caption agrees with the first label."""
        words = {bool(word) for word in WORDS.findall(caption)}
        if len(words) == 1 and labels and labels[0] >= 0:
            self.told += 1
            self.contradicted += words == {labels[0] == 1}

    def review(self, found: Mapping[Split, Counts]) -> list[str]:
        """A warning about labels in another order or with another meaning."""
        if self.told < FEWEST_TOLD or 2 * self.contradicted < self.told:
            return []
        return [
            f"the first label (0 woman, 1 man) contradicts {self.contradicted:,} of {self.told:,} captions "
            "that name a woman or a man: the labels have another order or meaning than published; fetch the "
            "published files"
        ]


def read_labels(record: Record) -> tuple[int, ...]:
    """27 labels of 0, 1 or -1; none where the record has no label."""
    labels = record.values.get("label", [])
    if labels == []:
        return ()
    if (
        not isinstance(labels, list)
        or len(labels) != len(ATTRIBUTES)
        or not all(label in (-1, 0, 1) for label in labels)
    ):
        record.fail(f"'label' must be a list of {len(ATTRIBUTES)} numbers of -1, 0, 1")
    return tuple(int(label) for label in labels)
