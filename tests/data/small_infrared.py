"""SYSU-MM01, RegDB and LLCM with a few images in the published layouts, for the tests that read them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.small_sets import write_image, write_json

TRAIN, VAL, TEST = (5, 2), (9,), (30, 4)
"""Persons of the small SYSU-MM01."""
CAMERAS = {"RGB": (1, 2, 4, 5), "IR": (3, 6)}


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def sysu_images(kind: str, people: tuple[int, ...]) -> list[str]:
    """Paths by person, camera and name; person 9 was not before camera 2."""
    return [
        f"cam{camera}/{person:04d}/{number:04d}.jpg"
        for person in sorted(people)
        for camera in CAMERAS[kind]
        if (person, camera) != (9, 2)
        for number in (3, 11)
    ]


def write_sysu(root: Path, *, text: bool = True, name: str = "SYSU-MM01") -> Path:
    """Two training persons, one for validation, two for test; two images before each camera."""
    base = root / name
    lists = {"train": TRAIN, "val": VAL, "test": TEST}
    for split, people in lists.items():
        write_text(base / f"exp/{split}_id.txt", ",".join(map(str, people)) + "\n")
    for kind in CAMERAS:
        for shade, image in enumerate(sysu_images(kind, TRAIN + VAL + TEST)):
            write_image(base / image, shade)
    if text:
        write_sysu_text(base)
    return base


def write_sysu_text(base: Path) -> None:
    """Captions as published: arrays in order, a dictionary of infrared images, a map of persons."""
    for kind in CAMERAS:
        folder = f"Blip_{kind}"
        images = sysu_images(kind, TRAIN + VAL)
        (base / "Text" / folder).mkdir(parents=True)
        for part, words in (
            ("text", [f"{kind} {image}" for image in images]),
            ("llm_text", [f"again {kind} {image}" for image in images]),
            (
                "text_label",
                [image.split("/")[1] if kind == "RGB" else str(int(image[5:9])) for image in images],
            ),
        ):
            np.save(base / f"Text/{folder}/train_{part}_{folder}.npy", np.array(words))
    texts = {f"datasets/sysu/{image}": {"description": f"IR {image}"} for image in sysu_images("IR", TEST)}
    write_json(base / "Text/Blip_IR/caption_dict_Blip_IR.json", texts)
    people = {str(person): [f"person {person} a", f"person {person} b"] for person in TEST + TRAIN}
    write_json(base / "Text/Blip_RGB/id_caption_map_Blip_RGB.json", people)


def write_sysu_arrays(base: Path) -> dict[str, np.ndarray]:
    """Training images as AGW's script prepares them; the arrays by kind."""
    arrays = {}
    known = sorted(TRAIN + VAL)
    for kind, name in (("RGB", "rgb"), ("IR", "ir")):
        images = sysu_images(kind, TRAIN + VAL)
        pixels = np.random.RandomState(len(name)).randint(0, 256, (len(images), 12, 6, 3), dtype=np.uint8)
        np.save(base / f"train_{name}_resized_img.npy", pixels)
        np.save(base / f"train_{name}_resized_label.npy", [known.index(int(image[5:9])) for image in images])
        arrays[kind] = pixels
    return arrays


REGDB_TRAIN = {193: 1, 7: 0}
"""Person -> label; not in ascending order of persons."""
REGDB_TEST = {10: 0, 3: 1}


def regdb_lines(kind: str, people: dict[int, int]) -> list[str]:
    letter = kind[0].lower()
    return [
        f"{kind}/{person}/male_front_{letter}_{number:05d}_{person}.bmp {label}"
        for person, label in people.items()
        for number in (2, 1)
    ]


def write_regdb(
    root: Path, *, text: str | None = "caption_llm_dict", prefix: str = "datasets/regdb/"
) -> Path:
    """Two training and two test persons in split 1, exchanged in split 2; two images of each kind."""
    base = root / "RegDB"
    for kind, folder in (("Visible", "Blip_RGB"), ("Thermal", "Blip_IR")):
        texts: dict[str, Any] = {}
        for split, parts in ((1, (REGDB_TRAIN, REGDB_TEST)), (2, (REGDB_TEST, REGDB_TRAIN))):
            for name, people in zip(("train", "test"), parts, strict=True):
                lines = regdb_lines(kind, people)
                write_text(base / f"idx/{name}_{kind.lower()}_{split}.txt", "\n".join(lines) + "\n")
        for shade, line in enumerate(lines + regdb_lines(kind, REGDB_TEST)):
            image = line.split()[0]
            write_image(base / image, shade)
            texts[prefix + image] = {"description": f"{kind} {image}"}
            if text == "caption_llm_dict":
                texts[prefix + image]["aug_description"] = f"again {image}"
        if text is not None:
            write_json(base / f"Text/{folder}/{text}_{folder}.json", texts)
    return base


def write_llcm(root: Path, files: list[str] | None = None, test: tuple[int, ...] = (12, 8)) -> Path:
    """Two training persons, two test persons before several cameras."""
    base = root / "LLCM"
    captions: dict[str, dict[str, Any]] = {"vis": {}, "nir": {}}
    for shade, kind in enumerate(("vis", "nir")):
        lines = [
            f"{kind}/{person:04d}/{person:04d}_c{c}_f1.jpg {label}"
            for person, label in ((6, 0), (40, 1))
            for c in (2, 3)
        ]
        write_text(base / f"idx/train_{kind}.txt", "\n".join(lines))
        for line in lines:
            write_image(base / line.split()[0], shade)
            captions[kind][line.split()[0]] = {"description": f"{kind} train", "aug_description": "again"}
    files = files or [
        f"test_{kind}/cam{c}/{person:04d}/{person:04d}_c{c}_f{frame}.jpg"
        for kind in ("vis", "nir")
        for c in (1, 9)
        for person in test
        for frame in (5, 2)
    ]
    for image in files:
        write_image(base / image, len(image))
        kind = image[5:8]
        captions[kind][f"{kind}/{image.split('/', 2)[2]}"] = {"description": f"of {image}"}
    write_text(base / "idx/test_id.txt", ",".join(map(str, test)))
    for kind, folder in (("vis", "Blip_RGB"), ("nir", "Blip_IR")):
        texts = {f"datasets/llcm/{key}": value for key, value in captions[kind].items()}
        path = base / f"Text/{folder}/caption_llm_dict_{folder}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(texts))
    return base
