"""LLCM: 1,064 people before nine cameras in low light, visible and near-infrared.

Source: Zhang and Wang, Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
Visible-Infrared Person Re-identification, CVPR 2023; captions of TVI-LFM, NeurIPS 2024.
Files: LLCM/idx/{train_vis,train_nir}.txt (lines of a path below vis/ or nir/ and a label),
LLCM/idx/test_id.txt (numbers of people, separated by commas),
LLCM/{test_vis,test_nir}/cam<1..9>/<person>/*.jpg and, with text,
LLCM/Text/Blip_{RGB,IR}/caption_llm_dict_Blip_{RGB,IR}.json or caption_dict_*.json. A test image's caption
is kept under its name below vis/ or nir/, without the camera's folder.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tpr.data.adapters.base import Counts
from tpr.data.adapters.visible_infrared import (
    VisibleInfraredAdapter,
    collect_labels,
    list_images,
    list_times,
    read_index,
    read_people,
)
from tpr.data.samples.sample import DatasetTask, Modality, Sample, Split

KINDS: tuple[tuple[Modality, str, str], ...] = (
    ("visible", "vis", "Blip_RGB"),
    ("infrared", "nir", "Blip_IR"),
)
"""Kind, folder of images, folder of captions."""
CAMERAS = range(1, 10)
CAMERA_IN_NAME = re.compile(r"_c(\d)_")


class Llcm(VisibleInfraredAdapter):
    """LLCM with its training lists and test folders."""

    name = "llcm"
    folders = ("LLCM", "llcm")
    layout = "LLCM/{vis/, nir/, test_vis/, test_nir/, idx/*.txt, perhaps Text/}"
    counts = {"train": Counts(713, 30_921, None), "test": Counts(351, 15_846, None)}
    task = DatasetTask("visible_infrared", "llcm", needs_captions=False)

    def sources(self, root: Path) -> list[Path]:
        """Index and caption files."""
        names = (*(f"idx/train_{folder}.txt" for _, folder, _ in KINDS), "idx/test_id.txt")
        files = [self.find_file(root, name) for name in names]
        return files + self.caption_files(root, *(texts for _, _, texts in KINDS))

    def describe_state(self, root: Path) -> list[str]:
        """Times of the test folders."""
        folder = self.folder(root)
        places = (folder / f"test_{kind}" / f"cam{c}" for _, kind, _ in KINDS for c in CAMERAS)
        return list_times(places, self.leftovers)

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Training images in file order, test images by person, camera and name; visible ones first."""
        self.require_folders(root, *(f"{part}{kind}" for part in ("", "test_") for _, kind, _ in KINDS))
        *lists, people = self.sources(root)[:3]
        tables = self.read_tables(root, *(texts for _, _, texts in KINDS))
        training = [list(read_index(path)) for path in lists]
        self.labels = collect_labels(lists[0], [line for lines in training for line in lines])
        base = self.folder(root).name
        for (modality, _, _), lines, table in zip(KINDS, training, tables, strict=True):
            for line in lines:
                named = CAMERA_IN_NAME.search(line.image)
                camera = int(named[1]) if named else -1
                captions = table.find(line.image)
                yield "train", Sample(f"{base}/{line.image}", line.person, captions, camera, modality)
        for (modality, kind, _), table in zip(KINDS, tables, strict=True):
            for place, person, camera in self.list_test(root, kind, read_people(people)):
                short = "/".join(place.split("/")[-2:])
                captions = table.find(f"{kind}/{short}", f"cam{camera}/{short}")[:1]
                yield "test", Sample(f"{base}/{place}", person, captions, camera, modality)
        self.note_texts(root, *tables)

    def list_test(self, root: Path, kind: str, people: list[int]) -> Iterator[tuple[str, int, int]]:
        """Path below the dataset's folder, person and camera of each test image of one kind."""
        for person in people:
            for camera in CAMERAS:
                place = f"test_{kind}/cam{camera}/{person:04d}"
                for name in list_images(self.folder(root) / place, self.leftovers):
                    yield f"{place}/{name}", person, camera
