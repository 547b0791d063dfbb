"""Slots, augmentation and texts of TVI-LFM's published loaders, fed with the draws that they made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.small_infrared import write_text
from tests.data.small_sets import load, write_json
from tests.parity.fixtures import read_fixture
from tpr.config.augment import AugmentOptions
from tpr.data.images.chains import name_chain
from tpr.data.images.infrared import KEPT, choose_channel, choose_grey, exchange_channels
from tpr.data.images.transforms import erase, find_boxes
from tpr.data.samples.modality_tests import list_identity_captions
from tpr.data.samples.samplers import CrossModalitySampler
from tpr.data.samples.visible_infrared import choose_captions
from tpr.data.tables.corpus import Corpus

CASES = read_fixture("tvi_lfm")
"""The cases of the published protocols, sampler and augmentation."""
PUBLISHED = AugmentOptions(erase=0.6, erase_ratio=(0.3, 1 / 0.3), erase_law="uniform")


def test_an_epoch_has_the_published_steps_and_slots() -> None:
    case = CASES["sampler"]
    visible, infrared = (np.array(case[f"labels_{kind}"]) for kind in ("visible", "infrared"))
    size, people = case["pictures_per_identity"], case["identities_per_batch"]
    sampler = CrossModalitySampler(visible, infrared, people * size, size, seed=1)
    assert len(sampler) == case["batches"]
    published = np.array(case["visible_rows"]) * len(infrared) + np.array(case["infrared_rows"])
    for slots in (sampler.order(1), published):
        rows = np.divmod(slots.reshape(case["batches"], people, size), len(infrared))
        assert np.array_equal(visible[rows[0]], infrared[rows[1]])
        assert (visible[rows[0]] == visible[rows[0]][:, :, :1]).all()
        assert all(len(set(step.tolist())) == people for step in visible[rows[0]][:, :, 0])


def test_coins_choose_the_published_texts() -> None:
    case = CASES["sampler"]
    coins = np.array(case["coins"]).reshape(-1, 2)
    for kind, column in (("visible", 0), ("infrared", 1)):
        rows = np.array(case[f"{kind}_rows"])
        offsets = 2 * np.arange(len(case[f"labels_{kind}"]) + 1)
        chosen = choose_captions(offsets, rows, coins[:, column] < 0.5)
        name = {"visible": "RGB", "infrared": "IR"}[kind]
        words = [f"{name} {number // 2} {('caption', 'rephrase')[number % 2]}" for number in chosen.tolist()]
        assert words == case[f"{kind}_text"]


def unit(draw: list[Any]) -> float:
    """A published draw as the uniform number in [0, 1) behind it."""
    kind, low, high, value = draw
    return (value - low + 0.5) / (high - low + 1) if kind == "randint" else (value - low) / (high - low)


def find_erased(case: dict[str, Any], size: tuple[int, int]) -> torch.Tensor:
    """Our box of the published draws: a gate, then area and ratio of each attempt, then the place."""
    gate, *draws = case["draws"]
    shapes = [unit(draw) for draw in draws if draw[0] == "uniform"]
    place = [unit(draw) for draw in draws if draw[0] == "randint"] or [0.0, 0.0]
    attempts = [[*shapes[start : start + 2], *place] for start in range(0, len(shapes), 2)]
    numbers = [unit(gate), *(number for attempt in attempts or [[0.5] * 4] for number in attempt)]
    return find_boxes(PUBLISHED, torch.tensor([numbers], dtype=torch.float64), size)


@pytest.mark.parametrize("number", range(len(CASES["augmentation"]["cases"])))
def test_images_come_out_as_published(number: int) -> None:
    case, shape = CASES["augmentation"]["cases"][number], CASES["augmentation"]["shape"]
    drawn = np.random.RandomState(CASES["augmentation"]["seed"]).standard_normal(shape).astype("float32")
    images = torch.from_numpy(drawn)[None]
    if case["kind"] == "erasing":
        box = find_erased(case, (shape[1], shape[2]))
        result = erase(images.clone(), box, published_fill=True, chain=name_chain("lanczos", "imagenet"))
    else:
        numbers = [torch.tensor([unit(draw)]) for draw in case["draws"]]
        first, second = (*numbers, torch.zeros(1))[:2]
        if case["kind"] == "exchange":
            choice = choose_channel(first, second, 0.5)
        else:
            choice = choose_grey(first, second, 0.6)
        assert (int(choice) == KEPT) is not case["changed"]
        result = exchange_channels(images, choice)
    assert torch.equal(result, images) is not case["changed"]
    weights = torch.arange(1, result.numel() + 1, dtype=torch.float64)
    assert float(result.double().sum()) == pytest.approx(case["sum"], rel=1e-4)
    weighted = float((result.double().flatten() * weights).sum())
    assert weighted == pytest.approx(case["weighted"], rel=1e-4)


def write_files(base: Path, files: list[str]) -> None:
    for name in files:
        write_text(base / name, "not opened here")


def prepare_sysu(root: Path, case: dict[str, Any]) -> None:
    base = root / "SYSU-MM01"
    write_files(base, case["files"])
    for split, people in {"train": [1], "val": [2], "test": case["test_id"]}.items():
        write_text(base / f"exp/{split}_id.txt", ",".join(map(str, people)))
    for kind, camera in (("RGB", 1), ("IR", 3)):
        (base / f"Text/Blip_{kind}").mkdir(parents=True)
        write_files(base, [f"cam{camera}/{person:04d}/1.jpg" for person in (1, 2)])
        np.save(base / f"Text/Blip_{kind}/train_text_Blip_{kind}.npy", np.array(["a", "b"]))
    for camera in range(1, 7):
        (base / f"cam{camera}").mkdir(exist_ok=True)
    write_json(base / "Text/Blip_RGB/id_caption_map_Blip_RGB.json", name_captions(case))
    own = {f"datasets/sysu/{image}": {"description": f"of {image}"} for image in infrared_files(case)}
    write_json(base / "Text/Blip_IR/caption_dict_Blip_IR.json", own)


def prepare_regdb(root: Path, case: dict[str, Any]) -> None:
    base = root / "RegDB"
    for kind, folder in (("visible", "Blip_RGB"), ("thermal", "Blip_IR")):
        lines = case[f"test_{kind}"]
        write_text(base / f"idx/test_{kind}_1.txt", "\n".join(lines))
        write_text(base / f"idx/train_{kind}_1.txt", f"{kind.title()}/999/a.bmp 0")
        texts = {f"datasets/regdb/{line.split()[0]}": f"of {line.split()[0]}" for line in lines}
        write_json(base / f"Text/{folder}/caption_dict_{folder}.json", texts)
    write_files(base, case["files"])


def prepare_llcm(root: Path, case: dict[str, Any]) -> None:
    base = root / "LLCM"
    write_files(base, case["files"])
    write_text(base / "idx/test_id.txt", ",".join(map(str, case["test_id"])))
    visible = [f"vis/{name.split('/', 2)[2]}" for name in case["files"] if name.startswith("test_vis")]
    for kind, folder, keys in (
        ("vis", "Blip_RGB", visible),
        ("nir", "Blip_IR", case["text"]["infrared_key"]),
    ):
        write_text(base / f"idx/train_{kind}.txt", f"{kind}/0001/a.jpg 0")
        (base / kind).mkdir()
        texts = {f"datasets/llcm/{key}": f"of {key}" for key in keys}
        write_json(base / f"Text/{folder}/caption_dict_{folder}.json", texts)


def name_captions(case: dict[str, Any]) -> dict[str, list[str]]:
    counts = case["text"]["captions_by_identity"]
    return {
        person: [f"caption {number} of {person}" for number in range(count)]
        for person, count in counts.items()
    }


def infrared_files(case: dict[str, Any]) -> list[str]:
    return [case["files"][index] for index in case["query"]]


PREPARE = {"sysu": prepare_sysu, "regdb": prepare_regdb, "llcm": prepare_llcm}


def open_test(root: Path, case: dict[str, Any]) -> Corpus:
    PREPARE[case["kind"]](root, case)
    return load(root, {"sysu": "sysu_mm01"}.get(case["kind"], case["kind"]), "test")


@pytest.mark.parametrize("case", CASES["protocols"], ids=lambda case: case["kind"])
def test_queries_persons_and_texts_are_the_published_ones(tmp_path: Path, case: dict[str, Any]) -> None:
    corpus = open_test(tmp_path, case)
    rows = np.flatnonzero(corpus.infrared())
    names = [corpus.image_path(row).partition("/")[2] for row in rows.tolist()]
    assert names == infrared_files(case)
    assert corpus.identity[rows].tolist() == case["query_identity"]
    if "query_camera" in case:
        assert corpus.cameras()[rows].tolist() == case["query_camera"]
    keys = case["text"].get("infrared_key", names)
    for row, key in zip(rows.tolist(), keys, strict=True):
        (caption,) = corpus.captions(row)
        assert caption.endswith(key)


def test_captions_are_drawn_from_the_published_map_of_persons(tmp_path: Path) -> None:
    # the other fixtures' maps hold more captions than their folders have images
    case = next(case for case in CASES["protocols"] if case["kind"] == "sysu")
    corpus = open_test(tmp_path, case)
    pool = list_identity_captions(corpus)
    counts = {str(person): len(numbers) for person, numbers in pool.items()}
    assert counts == case["text"]["captions_by_identity"]
    rng = np.random.RandomState(case["text"]["numpy_seed"])
    column = [caption for row in range(len(corpus)) for caption in corpus.captions(row)]
    for person, expected in zip(case["query_identity"], case["text"]["visible_text"], strict=True):
        drawn = pool[person][rng.choice(len(pool[person]))]
        assert column[drawn] == f"caption {expected} of {person}"
