"""The visible-infrared datasets: SYSU-MM01, RegDB, LLCM, each with captions and their rephrasings.

Captions are in lower case, as those of the published captioner. A rephrasing is what another annotator says
of the same image. Those who look at infrared images name no colours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tpr.drawn.annotators import MACHINE_MENTIONS, QWEN_DYNAMIC, QWEN_STATIC, Annotator
from tpr.drawn.cameras import LLCM, REGDB, SYSU, Camera
from tpr.drawn.plan import Plan, Shot, Studio

MENTIONS = MACHINE_MENTIONS | {"A": 0.9, "F": 0.85, "H": 0.9, "pattern": 0.85, "sleeve": 0.8}
CAPTIONER = replace(QWEN_STATIC, mentions=MENTIONS, determiners=("a",), wrong_words=0.03)
REPHRASER = replace(QWEN_DYNAMIC, mentions=MENTIONS, wrong_words=0.05)
Annotators = tuple[Annotator, Annotator]
VISIBLE: Annotators = (CAPTIONER, REPHRASER)
INFRARED: Annotators = (replace(CAPTIONER, sees_colours=False), replace(REPHRASER, sees_colours=False))
IMAGES = 3
REGDB_IMAGES = 10
REGDB_SPLITS = 10


@dataclass(frozen=True, slots=True)
class DescribedShot:
    """An image to draw with what is said about it."""

    shot: Shot
    caption: str
    rephrasing: str

    @property
    def is_infrared(self) -> bool:
        """Whether an infrared camera took it."""
        return self.shot.view.infrared


class Gatherer:
    """Images of one dataset, each with a view and captions drawn from its number."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.images: list[DescribedShot] = []

    def add(self, path: str, identity: int, person: int, camera: Camera) -> None:
        """One image before this camera. person: number of the person's attributes."""
        number = len(self.images)
        _, view = self.studio.view((camera,), number)
        shot = Shot(path, identity, self.studio.person(person), view, camera.name)
        texts = [
            self.studio.caption(shot, annotator, number, which).text.lower()
            for which, annotator in enumerate(INFRARED if camera.infrared else VISIBLE)
        ]
        self.images.append(DescribedShot(shot, *texts))

    def sort(self) -> tuple[list[DescribedShot], list[DescribedShot]]:
        """Visible and infrared images by person, then by path."""
        ordered = sorted(self.images, key=lambda image: (image.shot.identity, image.shot.path))
        return (
            [image for image in ordered if not image.is_infrared],
            [image for image in ordered if image.is_infrared],
        )

    def plan(self, folder: str, files: Mapping[str, Any], captions: int) -> Plan:
        """The whole set."""
        shots = [image.shot for image in self.images]
        people = len({shot.identity for shot in shots})
        examples = {image.shot.path: image.caption for image in self.images}
        return Plan(folder, shots, files, captions, people, examples)


def dictionary(images: Iterable[DescribedShot], prefix: str, *, rephrased: bool) -> dict[str, dict[str, str]]:
    """{path: {description, aug_description}} with the published prefix of keys."""
    return {
        prefix + image.shot.path: {"description": image.caption}
        | ({"aug_description": image.rephrasing} if rephrased else {})
        for image in images
    }


def map_people(images: Iterable[DescribedShot]) -> dict[str, list[str]]:
    """{person: captions of the person's images, without repetition}."""
    captions: dict[str, dict[str, None]] = {}
    for image in images:
        captions.setdefault(str(image.shot.identity), {})[image.caption] = None
    return {person: list(texts) for person, texts in captions.items()}


def plan_sysu_mm01(identities: int, seed: int) -> Plan:
    """Six cameras, of which a person misses one now and then; text as arrays, dictionary and map."""
    studio = Studio("sysu_mm01", seed)
    sizes = {"train": 2.0, "val": 0.2, "test": 0.7}
    counts = {split: max(1, round(share * identities)) for split, share in sizes.items()}
    numbers = studio.names.sample(range(1, 4 * sum(counts.values())), sum(counts.values()))
    gatherer = Gatherer(studio)
    for person, number in enumerate(numbers):
        missed = studio.stream("missed", person)
        skipped = (missed.choice((1, 2, 4, 5, None, None)), missed.choice((3, 6, *[None] * 8)))
        for camera in SYSU:
            if camera in skipped:
                continue
            for frame in sorted(studio.stream("frames", person, camera).sample(range(1, 60), IMAGES)):
                path = f"cam{camera}/{number:04d}/{frame:04d}.jpg"
                gatherer.add(path, number, person, SYSU[camera])
    files: dict[str, Any] = {}
    start = 0
    for split, count in counts.items():
        files[f"exp/{split}_id.txt"] = [",".join(map(str, numbers[start : start + count]))]
        start += count
    test = set(numbers[-counts["test"] :])
    visible, infrared = gatherer.sort()
    captions = 0
    for folder, images in (("Blip_RGB", visible), ("Blip_IR", infrared)):
        training = [image for image in images if image.shot.identity not in test]
        files |= text_arrays(folder, training)
        captions += 2 * len(training)
    files["Text/Blip_IR/caption_dict_Blip_IR.json"] = dictionary(infrared, "datasets/sysu/", rephrased=False)
    people = map_people(visible)
    files["Text/Blip_RGB/id_caption_map_Blip_RGB.json"] = people
    captions += sum(image.shot.identity in test for image in infrared)
    captions += sum(len(texts) for person, texts in people.items() if int(person) in test)
    return gatherer.plan("SYSU-MM01", files, captions)


def text_arrays(folder: str, images: Sequence[DescribedShot]) -> dict[str, Any]:
    """Captions, rephrasings and people in the order of the images; visible people with leading zeros."""
    width = 4 if folder.endswith("RGB") else 1
    return {
        f"Text/{folder}/train_{part}_{folder}.npy": np.array(column)
        for part, column in (
            ("text", [image.caption for image in images]),
            ("llm_text", [image.rephrasing for image in images]),
            ("text_label", [f"{image.shot.identity:0{width}d}" for image in images]),
        )
    }


def caption_files(gatherer: Gatherer, prefix: str) -> dict[str, Any]:
    """Dictionaries with and without rephrasings of both kinds, and the map of people."""
    visible, infrared = gatherer.sort()
    files: dict[str, Any] = {"Text/Blip_RGB/id_caption_map_Blip_RGB.json": map_people(visible)}
    for folder, images in (("Blip_RGB", visible), ("Blip_IR", infrared)):
        for name, rephrased in (("caption_dict", False), ("caption_llm_dict", True)):
            files[f"Text/{folder}/{name}_{folder}.json"] = dictionary(images, prefix, rephrased=rephrased)
    return files


def plan_regdb(identities: int, seed: int) -> Plan:
    """Ten visible and ten thermal images of each person, and ten ways to part the people in half."""
    studio = Studio("regdb", seed)
    people = 2 * max(2, round(0.3 * identities))
    gatherer = Gatherer(studio)
    serials = iter(studio.numbers(2 * REGDB_IMAGES * people, spread=2))
    for person in range(people):
        for folder, camera in zip(("Visible", "Thermal"), REGDB, strict=True):
            for _ in range(REGDB_IMAGES):
                name = f"person_{folder[0].lower()}_{next(serials):05d}_{person + 1}.bmp"
                gatherer.add(f"{folder}/{person + 1}/{name}", person + 1, person, camera)
    files = caption_files(gatherer, "datasets/regdb/")
    by_person: dict[tuple[int, bool], list[str]] = {}
    for image in gatherer.images:
        by_person.setdefault((image.shot.identity, image.is_infrared), []).append(image.shot.path)
    for split in range(1, REGDB_SPLITS + 1):
        order = studio.stream("split", split).sample(range(1, people + 1), people)
        for name, part in (("train", order[: people // 2]), ("test", order[people // 2 :])):
            for kind in ("visible", "thermal"):
                files[f"idx/{name}_{kind}_{split}.txt"] = [
                    f"{path} {label}"
                    for label, person in enumerate(part)
                    for path in by_person[person, kind == "thermal"]
                ]
    captions = people * REGDB_IMAGES * 3  # two of a training image, one of a test image
    return gatherer.plan("RegDB", files, captions)


def plan_llcm(identities: int, seed: int) -> Plan:
    """Nine places with a visible and an infrared camera each; a person passes a few of them."""
    studio = Studio("llcm", seed)
    counts = {"train": max(2, round(0.5 * identities)), "test": max(1, round(0.3 * identities))}
    total = sum(counts.values())
    numbers = studio.names.sample(range(1, 4 * total), total)
    gatherer = Gatherer(studio)
    lines: dict[str, list[str]] = {"vis": [], "nir": []}
    stored: dict[str, DescribedShot] = {}
    for person, number in enumerate(numbers):
        is_test = person >= counts["train"]
        for kind, places in (("vis", 3), ("nir", 2)):
            # There is no infrared camera 3.
            known = [camera for camera in LLCM if kind == "vis" or camera != 3]
            for camera in sorted(studio.stream("places", kind, person).sample(known, places)):
                frames = studio.stream("frames", kind, person, camera).sample(range(100), 3)
                for frame in sorted(frames):
                    name = f"{number:04d}/{number:04d}_c{camera}_f{frame:05d}.jpg"
                    path = f"test_{kind}/cam{camera}/{name}" if is_test else f"{kind}/{name}"
                    gatherer.add(path, number, person, replace(LLCM[camera], infrared=kind == "nir"))
                    stored[f"{kind}/{name}"] = gatherer.images[-1]
                    if not is_test:
                        lines[kind].append(f"{path} {person}")
    files: dict[str, Any] = {f"idx/train_{kind}.txt": content for kind, content in lines.items()}
    files["idx/test_id.txt"] = [",".join(map(str, numbers[counts["train"] :]))]
    renamed = Gatherer(studio)
    renamed.images = [replace(one, shot=replace(one.shot, path=path)) for path, one in stored.items()]
    files |= caption_files(renamed, "datasets/llcm/")
    captions = len(stored) + sum(map(len, lines.values()))
    return gatherer.plan("LLCM", files, captions)
