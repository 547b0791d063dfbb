"""A tiny corpus and tiny runs on it, for tests of the engine in one process and in several."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from tpr.config.schema import (
    Choice,
    DataOptions,
    Experiment,
    OptimOptions,
    RuntimeOptions,
    ScheduleOptions,
)
from tpr.data.samples.loader import TrainLoader
from tpr.data.tables.corpus import Corpus, offsets_of
from tpr.engine.precision import Precision
from tpr.engine.trainer import Trainer
from tpr.models.architecture import ClipArchitecture, ImageArchitecture, TextArchitecture
from tpr.models.clip import ClipOptions
from tpr.models.two_stream import TwoStreamOptions
from tpr.systems import SYSTEMS, build_system
from tpr.systems.base import Setting
from tpr.systems.irra import Losses

CPU = torch.device("cpu")
WORDS = ["red", "blue", "coat", "man", "woman", "bag", "shoes", "hat", "green", "jeans", "walking", "dress"]
SMALL = ClipArchitecture(
    embed_dim=8,
    image=ImageArchitecture(width=16, layers=1, heads=2),
    text=TextArchitecture(width=8, layers=1, heads=2),
)


def make_corpus(folder: Path, images: int = 13, captions: int = 2, identities: int = 5) -> Corpus:
    """`images` small JPEGs of random blocks with random words."""
    rng = np.random.RandomState(0)
    (folder / "toy").mkdir(parents=True, exist_ok=True)
    paths, texts = [], []
    for number in range(images):
        blocks = rng.randint(0, 255, (4, 2, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(blocks).resize((24, 48), Image.Resampling.NEAREST).save(data, "JPEG")
        path = folder / "toy" / f"{number}.jpg"
        if not path.exists():
            path.write_bytes(data.getvalue())
        paths.append(f"toy/{number}.jpg")
        texts.append([" ".join(rng.choice(WORDS, rng.randint(4, 12))) for _ in range(captions)])
    table = pa.table(
        {
            "image": pa.array(paths),
            "identity": pa.array(np.arange(images) % identities, pa.int64()),
            "camera": pa.array(np.full(images, -1), pa.int16()),
            "infrared": pa.array(np.zeros(images, bool)),
            "captions": pa.array(texts, pa.list_(pa.string())),
            "attributes": pa.array([[]] * images, pa.list_(pa.int8())),
        }
    )
    return Corpus(
        name="toy",
        split="train",
        root=folder,
        table=table,
        identity=np.arange(images, dtype=np.int64) % identities,
        caption_offsets=offsets_of(table.column("captions")),
        has_identities=True,
        fingerprint=f"toy-{images}-{captions}-{identities}",
    )


def make_experiment(folder: Path, system: dict[str, float] | Choice, **data: object) -> Experiment:
    """A run of the tiny CLIP with these loss weights of IRRA, or with another system on its tiny towers."""
    model = Choice("clip", ClipOptions(architecture=SMALL))
    if system_needs_streams(system):
        model = Choice("two_stream", TwoStreamOptions(layers=(1, 1, 1, 1), width=2, text=SMALL.text))
    if not isinstance(system, Choice):
        weights = Losses(**({"sdm": 0.0, "id": 0.0, "mlm": 0.0} | system))
        system = Choice("irra", SYSTEMS["irra"].Options(losses=weights, temperature=0.1))
    return Experiment(
        name="toy",
        system=system,
        model=model,
        data=replace(DataOptions(root=folder, cache=folder / "cache", batch=8, image_size=(32, 16)), **data),
        optim=OptimOptions(lr=1e-3, eps=1e-3),
        schedule=ScheduleOptions(epochs=4, warmup_epochs=1, per="step"),
        runtime=RuntimeOptions(output=folder / "runs", workers=0, log_every_steps=2, device="cpu"),
    )


def system_needs_streams(system: dict[str, float] | Choice) -> bool:
    """True for a system that reads infrared images as well."""
    return isinstance(system, Choice) and SYSTEMS[system.name].ModelOptions is TwoStreamOptions


class Silence:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, float]]] = []
        self.rewound: list[int] = []

    def advance(self, pairs: int) -> None: ...

    def record_step(self, epoch: int, step: int, means: dict[str, float], *_: float) -> None:
        self.steps.append((step, means))

    def rewind(self, step: int) -> None:
        self.rewound.append(step)


def make_trainer(
    experiment: Experiment, corpus: Corpus, folder: Path, *, double: bool = False, workers: int = 0
) -> Trainer:
    """A trainer over the whole corpus whose score is the epoch."""
    torch.manual_seed(experiment.seed)
    setting = Setting(
        image_size=experiment.data.image_size,
        text_length=experiment.data.text_length,
        identities=corpus.identity_count,
        captions=corpus.caption_count,
        captions_per_image=experiment.data.captions_per_image,
    )
    system = build_system(experiment, setting)
    system = system.double() if double else system
    sampler = experiment.data.sampler if experiment.data.sampler != "system" else system.views().sampler
    loader = TrainLoader(
        corpus,
        experiment.data,
        system.views(),
        seed=experiment.seed,
        workers=workers,
        sampler=sampler,
        device=CPU,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(
        system,
        loader,
        experiment,
        folder=folder,
        precision=Precision("float32", CPU),
        scorer=lambda system, epoch, step: float(epoch),
        recorder=Silence(),
    )


def states_are_equal(one: object, two: object) -> bool:
    """Exact equality of nested states."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(states_are_equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(states_are_equal, one, two))
    return one == two
