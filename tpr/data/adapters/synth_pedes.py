"""SYNTH-PEDES: 312,321 people cut from LUPerson-NL and LPW, 4.8 M images, 2.5 machine captions each.

Source: Zuo et al., PLIP: Language-Image Pre-training for Person Representation Learning, NeurIPS 2024.
Files: SYNTH-PEDES/synthpedes-dataset.json or synthpedes_dataset.json (records with id, file_path,
attributes, captions, prompt_caption) and SYNTH-PEDES/Part1 ... Part11/<id>/<n>.jpg. All of it is training
data. `captions` holds one or two sentences of the captioner's styles, `prompt_caption` one sentence filled
from the attributes. The published counts disagree with one another by a few images.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tpr.config.ranges import Count
from tpr.data.adapters.annotations import Record, read_number, read_records
from tpr.data.adapters.base import Adapter, Counts, SubsetOptions, clean_text, draw_rows
from tpr.data.samples.sample import Sample, Split
from tpr.data.tables.corpus import IndexArray
from tpr.errors import ConfigError

JOINED_SENTENCES = re.compile(r"(?<=[a-z])\.(?=[A-Z])")


class SynthPedes(Adapter):
    """SYNTH-PEDES with its identities."""

    @dataclass(frozen=True, kw_only=True)
    class Options(SubsetOptions):
        """Options of SYNTH-PEDES."""

        captions: Literal["all", "style", "prompt", "published"] = "all"
        """All; the captioner's styles; the attribute sentence; or the first style and that sentence."""
        identities: Count | None = None
        """Identities to draw at random, with all their images; absent: all."""

        def __post_init__(self) -> None:
            if self.identities is not None and self.images is not None:
                raise ConfigError("give images or identities to draw, not both")

    name = "synth_pedes"
    folders = ("SYNTH-PEDES", "SYNTH_PEDES")
    files = ("synthpedes-dataset.json", "synthpedes_dataset.json")
    layout = "SYNTH-PEDES/{Part1/ ... Part11/, synthpedes-dataset.json or synthpedes_dataset.json}"
    counts = {"train": Counts(312_321, 4_791_771, 12_138_157, exact=False)}

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.strange = 0
        """Records whose id is not the number of their image's folder."""

    def sources(self, root: Path) -> list[Path]:
        """The one annotation file."""
        return [self.find_file(root, *self.files)]

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Records in file order."""
        (path,) = self.sources(root)
        base = path.parent.name
        for record in read_records(path, ("id", "file_path", "captions", "prompt_caption")):
            image, identity = record.image("file_path"), record.integer("id")
            self.strange += read_number(image.split("/")[-2] if "/" in image else "") != identity
            yield "train", Sample(f"{base}/{image}", identity, self.choose_captions(record))

    def review(self, found: Mapping[Split, Counts]) -> list[str]:
        """A warning about an edition whose `id` is not the person."""
        if not self.strange:
            return []
        return [
            f"{self.strange:,} records have another id than the folder of their image, which is "
            "Part1/<id>/<n>.jpg as published; make sure that these ids are people"
        ]

    def choose_captions(self, record: Record) -> tuple[str, ...]:
        """The record's captions that the option asks for, cleaned."""
        style, prompt = record.texts("captions"), record.texts("prompt_caption")
        chosen = {
            "all": style + prompt,
            "style": style,
            "prompt": prompt,
            "published": style[:1] + prompt[:1],
        }[self.options.captions]
        cleaned = (clean_text(JOINED_SENTENCES.sub(". ", caption)) for caption in chosen)
        return tuple(caption for caption in cleaned if caption)

    def choose_rows(self, identity: IndexArray) -> IndexArray | None:
        """Rows of the identities or images to draw."""
        if self.options.identities is None:
            return super().choose_rows(identity)
        known = np.unique(identity)
        drawn = known[draw_rows(len(known), self.options.identities, self.options.seed)]
        return np.flatnonzero(np.isin(identity, drawn)).astype(np.int64)
