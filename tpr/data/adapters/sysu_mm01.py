"""SYSU-MM01: 491 people before four visible and two near-infrared cameras, indoors and outdoors.

Source: Wu et al., RGB-Infrared Cross-Modality Person Re-identification, ICCV 2017; captions of TVI-LFM,
NeurIPS 2024.
Files: SYSU-MM01/cam<1..6>/<person>/*.jpg (3 and 6 are infrared), SYSU-MM01/exp/{train,val,test}_id.txt
(numbers of people, separated by commas); or, for training, the arrays that AGW's script makes of them,
train_{rgb,ir}_resized_{img,label}.npy. With text SYSU-MM01/Text/: captions of the training images in
<C>_<M>/train_text_<C>_<M>.npy and train_llm_text_<C>_<M>.npy in the order of the arrays (person, camera,
name), or in <C>_<M>/caption_llm_dict_<C>_<M>.json; of the test images in caption_dict_<C>_<M>.json, and for
visible ones else in id_caption_map_<C>_RGB.json, whose captions go to the person's first visible image.
<M> is RGB or IR, <C> the captioner.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpr.data.adapters.annotations import quote, read_number, refuse
from tpr.data.adapters.base import Counts
from tpr.data.adapters.visible_infrared import (
    CaptionTable,
    VisibleInfraredAdapter,
    list_images,
    list_times,
    read_identity_captions,
    read_people,
    read_text_array,
)
from tpr.data.samples.sample import DatasetTask, Modality, Sample, Split
from tpr.data.tables.array_files import map_array_file
from tpr.data.tables.walks import Leftovers
from tpr.errors import DataError

LISTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class CameraKind:
    """One kind of images: its cameras and what its files are called."""

    modality: Modality
    cameras: tuple[int, ...]
    array: str
    texts: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image before its captions are known."""

    image: str
    """Path below the dataset's folder."""
    person: int
    camera: int


class SysuMm01(VisibleInfraredAdapter):
    """SYSU-MM01 from its camera folders or, for training, from prepared arrays."""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Options of SYSU-MM01."""

        training: Literal["folders", "arrays"] = "folders"
        """Training images from the camera folders, or from train_{rgb,ir}_resized_img.npy."""
        validation: Literal["joined", "own"] = "joined"
        """The published validation people train as well, as published, or are a validation split."""
        captioner: Literal["Blip", "GIT"] = "Blip"
        """Whose captions visible images have: the folder `<captioner>_RGB` of `Text`."""

    name = "sysu_mm01"
    folders = ("SYSU-MM01", "SYSU_MM01", "sysu")
    layout = "SYSU-MM01/{cam1/ .. cam6/, exp/{train,val,test}_id.txt, perhaps Text/}"
    counts = {"train": Counts(395, 34_167, None), "test": Counts(96, 10_578, None, exact=False)}
    task = DatasetTask("visible_infrared", "sysu", needs_captions=False)

    @property
    def kinds(self) -> tuple[CameraKind, CameraKind]:
        """Visible and infrared."""
        visible = CameraKind("visible", (1, 2, 4, 5), "rgb", f"{self.options.captioner}_RGB")
        return visible, CameraKind("infrared", (3, 6), "ir", "Blip_IR")

    def sources(self, root: Path) -> list[Path]:
        """Lists of people, labels of the arrays, caption files."""
        files = [self.find_file(root, f"exp/{name}_id.txt") for name in LISTS]
        if self.options.training == "arrays":
            for kind in self.kinds:
                self.find_file(root, f"train_{kind.array}_resized_img.npy")
                files.append(self.find_file(root, f"train_{kind.array}_resized_label.npy"))
        if self.text_folder(root) is not None:
            for kind in self.kinds:
                files += [*self.training_texts(root, kind), self.test_texts(root, kind)]
        return files

    def describe_state(self, root: Path) -> list[str]:
        """Times of the camera folders."""
        return list_times((self.folder(root) / f"cam{camera}" for camera in range(1, 7)), self.leftovers)

    def training_texts(self, root: Path, kind: CameraKind) -> list[Path]:
        """The array of captions, then those of rephrasings and people, if any; or the dictionary."""
        names = [f"train_{part}_{kind.texts}.npy" for part in ("text", "llm_text", "text_label")]
        first = self.find_text(root, kind.texts, names[0], f"caption_llm_dict_{kind.texts}.json")
        if first.name != names[0]:
            return [first]
        return [first, *(first.with_name(name) for name in names[1:] if first.with_name(name).is_file())]

    def test_texts(self, root: Path, kind: CameraKind) -> Path:
        """The dictionary of captions by image or, for visible ones, by person."""
        names = [f"caption_dict_{kind.texts}.json", f"caption_llm_dict_{kind.texts}.json"]
        if kind.modality == "visible":
            names.append(f"id_caption_map_{kind.texts}.json")
        return self.find_text(root, kind.texts, *names)

    def parse(self, root: Path) -> Iterator[tuple[Split, Sample]]:
        """Visible images, then infrared ones, each by person, camera and name."""
        self.require_cameras(root)
        tables: list[CaptionTable] = []
        yield from self._parse_training(root, tables)
        yield from self._parse_test(root, tables)
        self.note_texts(root, *tables)

    def _parse_training(self, root: Path, tables: list[CaptionTable]) -> Iterator[tuple[Split, Sample]]:
        base = self.folder(root)
        training, validation = (read_people(base / f"exp/{name}_id.txt") for name in LISTS[:2])
        own = set(validation) if self.options.validation == "own" else set()
        for kind in self.kinds:
            images = self.list_training(root, kind, sorted({*training, *validation}))
            captions = self.read_training(root, kind, images, tables)
            for image, texts in zip(images, captions, strict=True):
                if image.person in own:
                    yield "val", make_sample(base.name, kind, image, texts[:1])
                else:
                    yield "train", make_sample(base.name, kind, image, texts)

    def _parse_test(self, root: Path, tables: list[CaptionTable]) -> Iterator[tuple[Split, Sample]]:
        base = self.folder(root)
        people = read_people(base / "exp/test_id.txt")
        has_text = self.text_folder(root) is not None
        for kind in self.kinds:
            images = find_images(base, kind.cameras, people, self.leftovers)
            path = self.test_texts(root, kind) if has_text else None
            if path is not None and path.name.startswith("id_caption_map"):
                captions = read_identity_captions(path)
                if not captions.keys() & set(people):
                    raise DataError(f"{path}: no key is a test person, such as {people[0]}")
                yield from describe_people(base.name, kind, images, captions)
                continue
            table = CaptionTable() if path is None else CaptionTable.read(path)
            tables.append(table)
            for image in images:
                yield "test", make_sample(base.name, kind, image, table.find(image.image)[:1])

    def require_cameras(self, root: Path) -> None:
        """Raise DataError for a missing camera folder; prepared arrays may come without any."""
        names = [f"cam{camera}" for camera in range(1, 7)]
        if self.options.training == "folders" or any((self.folder(root) / name).is_dir() for name in names):
            self.require_folders(root, *names)

    def list_training(self, root: Path, kind: CameraKind, people: Sequence[int]) -> list[Image]:
        """Training images of one kind in the order of the published script."""
        base = self.folder(root)
        if self.options.training == "folders":
            return find_images(base, kind.cameras, people, self.leftovers)
        path = base / f"train_{kind.array}_resized_label.npy"
        labels = map_array_file(path)
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise DataError(
                f"{path}: holds {labels.dtype} of shape {list(labels.shape)}, expected whole numbers"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() == len(people) - 1:
            raise DataError(
                f"{path}: labels go from {labels.min()} to {labels.max()}, but exp/ names {len(people)} "
                f"training people; expected 0 to {len(people) - 1}"
            )
        array = f"train_{kind.array}_resized_img.npy"
        if len(map_array_file(base / array)) != len(labels):
            raise DataError(f"{path}: has {len(labels):,} labels, but {array} another number of images")
        return [Image(f"{array}#{row}", people[int(label)], -1) for row, label in enumerate(labels)]

    def read_training(
        self, root: Path, kind: CameraKind, images: Sequence[Image], tables: list[CaptionTable]
    ) -> list[tuple[str, ...]]:
        """Captions of each training image: description and, where there is one, rephrasing.

        tables: gets the table that was read, if it is one by image.
        """
        if self.text_folder(root) is None:
            return [()] * len(images)
        first, *others = self.training_texts(root, kind)
        if first.suffix == ".json":
            tables.append(CaptionTable.read(first))
            return [tables[-1].find(image.image) for image in images]
        columns = [read_text_array(first, len(images))]
        for path in others:
            column = read_text_array(path, len(images))
            if "_label_" in path.name:
                check_people(path, column, images)
            else:
                columns.append(column)
        return list(zip(*columns, strict=True))


def find_images(
    base: Path, cameras: Sequence[int], people: Sequence[int], leftovers: Leftovers
) -> list[Image]:
    """Images of these people by person, camera and name."""
    return [
        Image(f"cam{camera}/{person:04d}/{name}", person, camera)
        for person in people
        for camera in cameras
        for name in list_images(base / f"cam{camera}" / f"{person:04d}", leftovers)
    ]


def check_people(path: Path, column: Sequence[str], images: Sequence[Image]) -> None:
    """Raise DataError if captions were listed for other people than the images show."""
    for row, (word, image) in enumerate(zip(column, images, strict=True)):
        if read_number(word) != image.person:
            raise refuse(
                path,
                f"entry {row} is of person {quote(word)}, but {image.image} shows person {image.person}; "
                "captions and images are in different orders",
            )


def make_sample(base: str, kind: CameraKind, image: Image, captions: tuple[str, ...]) -> Sample:
    """The image as a row of the corpus."""
    return Sample(f"{base}/{image.image}", image.person, captions, image.camera, kind.modality)


def describe_people(
    base: str, kind: CameraKind, images: Sequence[Image], captions: dict[int, tuple[str, ...]]
) -> Iterator[tuple[Split, Sample]]:
    """Test images, the first of each person with all captions of the person."""
    left = dict(captions)
    for image in images:
        yield "test", make_sample(base, kind, image, left.pop(image.person, ()))
