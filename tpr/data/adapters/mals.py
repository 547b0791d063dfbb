"""MALS: 1.5 M generated pictures with one caption and 27 attribute labels each, no identities.

Source: Yang et al., Towards Unified Text-based Person Retrieval: A Large-scale Multi-Attribute and Language
Search Benchmark, ACM Multimedia 2023.
Files: 91 lists gene_attrs/*_attrs.json in MALS/, in the data root or below finetune/ (records with image,
caption, image_id, label) and pictures MALS/gene_crop/<subset>/<n>.jpg. Captions and pictures are joined on
the last three parts of the path; pictures may also lie in images/MALS/ or without the prefix gene_crop/.
Labels are 0, 1 or -1 (unknown), where 0 means that the person has the accessory or colour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tpr.data.adapters.annotations import Record, read_records
from tpr.data.adapters.base import Adapter, Counts, SubsetOptions
from tpr.data.sample import Sample, Split

ATTRIBUTES = 27
PREFIX = "gene_crop"
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

    def sources(self, root: Path) -> list[Path]:
        """The annotation files."""
        folder = self.folder(root)
        places = [base / name for base in (folder, root) for name in ("gene_attrs", "finetune/gene_attrs")]
        place = next((place for place in places if place.is_dir()), places[0])
        found = [place / name for name in self.options.files] or sorted(place.glob("*.json"))
        missing = [path for path in found if not path.is_file()] if found else [place / "g_4x_attrs.json"]
        if missing:
            raise self.not_found(missing[0], root)
        return found

    def describe_state(self, root: Path) -> list[str]:
        """The folders that hold picture folders."""
        return [base for base in BASES if (root / base).is_dir()]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Records in the order of the sorted files."""
        self.has_identities = False
        bases: dict[str, str] = {}
        number = 0
        for path in self.sources(root):
            for record in read_records(path, ("image", "caption")):
                parts = [part for part in record.picture("image").split("/")[-3:] if part != PREFIX]
                if len(parts) < 2:
                    record.fail("'image' must end in gene_crop/<subset>/<file>")
                subset, name = parts[-2:]
                if subset not in bases:
                    bases[subset] = next(
                        (base for base in BASES if (root / base / subset).is_dir()), BASES[0]
                    )
                image = f"{bases[subset]}/{subset}/{name}"
                yield (
                    "train",
                    Sample(image, number, (record.text("caption"),), attributes=read_labels(record)),
                )
                number += 1


def read_labels(record: Record) -> tuple[int, ...]:
    """27 labels of 0, 1 or -1; none where the record has no label."""
    labels = record.values.get("label", [])
    if labels == []:
        return ()
    if (
        not isinstance(labels, list)
        or len(labels) != ATTRIBUTES
        or not all(label in (-1, 0, 1) for label in labels)
    ):
        record.fail(f"'label' must be a list of {ATTRIBUTES} numbers of -1, 0, 1")
    return tuple(int(label) for label in labels)
