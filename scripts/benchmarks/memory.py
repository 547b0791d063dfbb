"""Host memory: flat over many training steps, and small for a corpus of a million images.

The steps are the project's whole loop (loader, system, meter, optimiser, checkpoints); the large corpus is
in `million.py`.
"""

import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.million import measure_corpus
from benchmarks.process_memory import release_free_memory, resident_bytes
from benchmarks.project import build_irra, open_training, write_cuhk_pedes
from benchmarks.reference.towers import Architecture
from benchmarks.report import Report
from tpr.config.evaluation import EvaluationOptions
from tpr.config.schema import Choice, Experiment, RuntimeOptions, ScheduleOptions
from tpr.data.samples.loader import TrainLoader
from tpr.data.samples.views import Views
from tpr.engine.precision import Precision
from tpr.engine.trainer import Trainer
from tpr.models.clip import ClipOptions
from tpr.systems import SYSTEMS

TINY = Architecture(
    image_size=(64, 32), image_width=64, image_layers=1, text_width=64, text_layers=1, embedding=64
)
BATCH = 8
LIMIT_PER_STEP = 1024
"""Bytes of host memory that a step may leave behind."""
SAMPLES = 40
"""Readings of the resident memory in a run."""


class MemoryRecorder:
    """Stands for the journal: notes the resident memory now and then."""

    def __init__(self, every: int) -> None:
        self.steps: list[int] = []
        self.bytes: list[float] = []
        self._every = every
        self._done = 0
        # What exists now stays: collecting then looks at what the steps leave behind, and is quick.
        gc.freeze()

    def advance(self, pairs: int) -> None:
        """One step is done."""
        self._done += 1
        if self._done % self._every == 0:
            release_free_memory()
            self.steps.append(self._done)
            self.bytes.append(resident_bytes())

    def record_step(self, *values: Any) -> None:
        """Losses are of no interest here."""

    def rewind(self, step: int) -> None:
        """Nothing is ever resumed here."""

    def slope(self) -> float:
        """Bytes per step, by least squares over the second half; the first fills caches and pools."""
        half = len(self.steps) // 2
        return float(np.polyfit(self.steps[half:], self.bytes[half:], 1)[0])


def run(quick: bool) -> Report:
    """2,000 steps and 1,000,000 images; `quick` takes 200 and 5,000."""
    steps = 200 if quick else 2000
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    report = Report("memory", f"{steps:,} steps of a tiny CLIP with SDM + ID + MLM, batch {BATCH}, float32")
    with tempfile.TemporaryDirectory() as folder:
        recorder = train(Path(folder), steps)
        gc.unfreeze()
        torch.set_num_threads(threads)
        growth = recorder.slope()
        report.facts["resident memory at the end, MiB"] = recorder.bytes[-1] / 2**20
        what = f"a step leaves little behind, over the last {steps // 2:,} steps"
        report.check_limit(what, growth, LIMIT_PER_STEP, "bytes a step")
    measure_corpus(report, 5_000 if quick else 1_000_000, tokens=True)
    return report


def train(folder: Path, steps: int) -> MemoryRecorder:
    """The project's trainer on drawn images for `steps` steps, loading in this very process."""
    write_cuhk_pedes(folder, steps // 2)
    corpus, data = open_training(folder, "cuhk_pedes", batch=BATCH, image_size=TINY.image_size)
    system = build_irra(TINY, corpus.identity_count)
    experiment = Experiment(
        system=Choice("irra", SYSTEMS["irra"].Options()),
        model=Choice("clip", ClipOptions()),
        data=data,
        schedule=ScheduleOptions(epochs=100, warmup_epochs=1),
        evaluation=EvaluationOptions(select_on="last"),
        runtime=RuntimeOptions(device="cpu", workers=0, max_steps=steps, save_every_steps=10**9),
    )
    recorder = MemoryRecorder(steps // SAMPLES)
    loader = TrainLoader(corpus, data, Views(), seed=1, workers=0, sampler="shuffled", device="cpu")
    precision = Precision("float32", torch.device("cpu"))
    output = folder / "run"
    output.mkdir()
    Trainer(
        system,
        loader,
        experiment,
        folder=output,
        precision=precision,
        scorer=lambda *_: 0.0,
        recorder=recorder,
    ).fit()
    return recorder
