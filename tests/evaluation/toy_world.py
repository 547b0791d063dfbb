"""Toy corpora of plain images, and systems that need no training, for tests of the evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tpr.config.evaluation import EvaluationOptions
from tpr.config.schema import Choice, DataOptions, Experiment, RuntimeOptions
from tpr.data.samples.batch import Batch
from tpr.data.samples.sample import DatasetTask
from tpr.data.tables.corpora import Corpora
from tpr.data.tables.corpus import Corpus, offsets_of
from tpr.engine.precision import Precision
from tpr.evaluation.evaluator import Evaluator
from tpr.evaluation.protocols.visible_infrared import Rules
from tpr.systems.base import Setting, Side, System

CPU = torch.device("cpu")
SETTING = Setting(image_size=(8, 4), text_length=77, identities=None, captions=0)
WORDS = ["red", "blue", "coat", "man", "woman", "bag", "shoes", "hat", "green", "jeans", "walking", "dress"]


def make_corpus(folder: Path, name: str = "toy", images: int = 13, identities: int = 5) -> Corpus:
    """Random blocks as PNG files; image i has 1 + i % 2 captions of random words."""
    rng = np.random.RandomState(len(name))
    (folder / name).mkdir(parents=True, exist_ok=True)
    captions = []
    for number in range(images):
        blocks = rng.randint(0, 255, (4, 2, 3), dtype=np.uint8)
        path = folder / name / f"{number}.png"
        if not path.exists():  # another process may be reading it
            Image.fromarray(blocks).resize((8, 16)).save(path)
        captions.append([" ".join(rng.choice(WORDS, rng.randint(2, 9))) for _ in range(1 + number % 2)])
    identity = np.arange(images, dtype=np.int64) % identities
    table = pa.table({"image": [f"{name}/{number}.png" for number in range(images)], "captions": captions})
    offsets = offsets_of(table.column("captions"))
    return Corpus(name, "test", folder, table, identity, offsets, True, f"{name}-{images}-{identities}")


def make_task(rules: Rules) -> DatasetTask:
    """What a dataset of two kinds of cameras is measured by."""
    return DatasetTask("visible_infrared", rules, needs_captions=False, is_ordered=rules == "regdb")


def make_pairs(
    folder: Path, rules: Rules = "sysu", *, name: str = "pairs", people: int = 5, captions: bool = True
) -> Corpus:
    """People on two visible images of each of four cameras, and two infrared ones of each of two."""
    rng = np.random.RandomState(len(name))
    columns: dict[str, list[Any]] = {
        key: [] for key in ("image", "camera", "infrared", "captions", "identity")
    }
    infrared_cameras = (1, 4) if rules == "llcm" else (3, 6)
    for person in range(people):
        for camera, infrared in [*((c, False) for c in (1, 2, 4, 5)), *((c, True) for c in infrared_cameras)]:
            for number in range(2):
                kind = "ir" if infrared else "rgb"
                image = f"{name}/{kind}{camera}/{person:04d}/{number:04d}.png"
                blocks = rng.randint(0, 255, (4, 2, 3), dtype=np.uint8)
                if not (folder / image).exists():  # another process may be reading it
                    (folder / image).parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(blocks).resize((8, 16)).save(folder / image)
                words = " ".join(rng.choice(WORDS, rng.randint(2, 9)))
                row = (image, camera, infrared, [words] if captions else [], person + 10)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    identity = np.array(columns.pop("identity"), dtype=np.int64)
    table = pa.table(columns | {"captions": pa.array(columns["captions"], pa.list_(pa.string()))})
    offsets = offsets_of(table.column("captions"))
    marks = f"{name}-{people}-{captions}"
    return Corpus(name, "test", folder, table, identity, offsets, True, marks, task=make_task(rules))


def make_evaluator(folder: Path, *corpora: Corpus, val: bool = False, **options: object) -> Evaluator:
    """An evaluator over these corpora as test sets, and the first as validation if asked."""
    experiment = Experiment(
        system=Choice("toy", None),
        model=Choice("toy", None),
        data=DataOptions(root=folder, cache=folder / "cache", image_size=(8, 4)),
        evaluation=replace(EvaluationOptions(batch=3), **options),
        runtime=RuntimeOptions(workers=0),
    )
    held = {corpora[0].name: corpora[0]} if val else {}
    sets = Corpora(train=None, val=held, test={corpus.name: corpus for corpus in corpora})
    return Evaluator(experiment, sets, device=CPU, autocast=Precision("float32", CPU).autocast)


class TableSystem(System):
    """Looks features up by image and caption number, so that every number is known."""

    def __init__(self, images: Tensor, texts: Tensor) -> None:
        super().__init__(SETTING)
        self.tables = {"image": images, "text": texts}
        self.frozen = nn.BatchNorm1d(2)
        self.modes: list[bool] = []

    def encode(self, batch: Batch, side: Side) -> Tensor:
        self.modes.append(self.frozen.training)
        rows = batch["image_index"] if side == "image" else batch["caption_index"]
        return self.tables[side][rows].double()


class ProductSystem(System):
    """One matrix product per side: its rounding depends on the batch, as that of a real system."""

    def __init__(self) -> None:
        super().__init__(SETTING)
        generator = torch.Generator().manual_seed(0)
        self.pixels = nn.Parameter(torch.randn(3 * 8 * 4, 24, generator=generator))
        self.words = nn.Parameter(torch.randn(49408, 24, generator=generator))

    def encode(self, batch: Batch, side: Side) -> Tensor:
        if side == "image":
            return batch["images"].flatten(1).to(self.pixels.dtype) @ self.pixels
        hidden: Tensor = self.words[batch["tokens"]].mean(1)
        return hidden @ self.pixels[:24]


class PairSystem(ProductSystem):
    """Encodes these sides of visible and infrared images and texts; notes which images it saw."""

    def __init__(self, sides: tuple[Side, ...] = get_args(Side)) -> None:
        super().__init__()
        self.able = sides
        self.seen: list[int] = []
        self.asked: list[tuple[Side, ...]] = []

    def sides(self) -> tuple[Side, ...]:
        return self.able

    def encode_queries(self, batch: Batch, sides: Sequence[Side]) -> dict[Side, Tensor]:
        self.asked.append(tuple(sides))
        for name in ("image_index", "infrared_index"):
            self.seen += batch[name].tolist() if name in batch else []  # type: ignore[literal-required]
        return super().encode_queries(batch, sides)

    def encode(self, batch: Batch, side: Side) -> Tensor:
        if side in ("image", "text"):
            return functional.normalize(super().encode(batch, side), dim=1)
        infrared = super().encode(Batch(images=batch["infrared_images"]), "image")
        if side == "infrared":
            return functional.normalize(infrared, dim=1)
        fused = infrared + super().encode(batch, "text")
        if "infrared_tokens" in batch:
            fused = fused - super().encode(Batch(tokens=batch["infrared_tokens"]), "text")
        fused = functional.normalize(fused, dim=1)
        if side == "fused":
            return fused
        return fused + functional.normalize(infrared, dim=1) + self.encode(batch, "text")
