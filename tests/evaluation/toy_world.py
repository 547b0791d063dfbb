"""A toy corpus of plain pictures, and two systems that need no training, for tests of the evaluation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor, nn

from tpr.config.evaluation import EvaluationOptions
from tpr.config.schema import Choice, DataOptions, Experiment, RuntimeOptions
from tpr.data.batch import Batch
from tpr.data.corpora import Corpora
from tpr.data.corpus import Corpus, offsets_of
from tpr.engine.precision import Precision
from tpr.evaluation.evaluator import Evaluator
from tpr.systems.base import Setting, Side, System

CPU = torch.device("cpu")
SETTING = Setting(image_size=(8, 4), text_length=77, identities=None, captions=0)
WORDS = ["red", "blue", "coat", "man", "woman", "bag", "shoes", "hat", "green", "jeans", "walking", "dress"]


def make_corpus(folder: Path, name: str = "toy", images: int = 13, identities: int = 5) -> Corpus:
    """Random blocks as PNG files; picture i has 1 + i % 2 captions of random words."""
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
    return Evaluator(experiment, sets, device=CPU, precision=Precision("float32", CPU))


class TableSystem(System):
    """Looks features up by picture and caption number, so that every number is known."""

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
            return batch["images"].flatten(1) @ self.pixels
        hidden: Tensor = self.words[batch["tokens"]].mean(1)
        return hidden @ self.pixels[:24]
