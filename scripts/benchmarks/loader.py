"""Files -> shuffled training batches with masked words: the published loader against the project's.

Side B is timed twice: up to the uint8 batch that goes to the device, as on a GPU, and up to the normalised
and erased float32 batch, with that part on the same CPU.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.project import open_training, write_cuhk_pedes
from benchmarks.reference.captions import build_tokenizer, tokenize_caption
from benchmarks.reference.dataset import Row, build_loader
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.config.schema import DataOptions
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import TrainLoader
from tpr.data.samples.views import Views
from tpr.data.tables.corpus import Corpus
from tpr.data.text.masking import mask_words
from tpr.data.text.tokens import CLIP_TOKENIZER

SIZE, BATCH = (384, 128), 64


def run(quick: bool) -> Report:
    """Batches of 64 pairs, loose files in a warm cache, one computing thread per process."""
    images = 192 if quick else 2000
    report = Report(
        "loader", f"{2 * images:,} pairs in batches of {BATCH}, 384 x 128, warm loose files, 1 thread"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = write_cuhk_pedes(Path(folder), images)
            corpus, data = open_training(Path(folder), "cuhk_pedes", batch=BATCH)
            for workers in (0,) if quick else (0, 2):
                _time(report, rows, corpus, data, workers=workers, rounds=3 if quick else 5, quick=quick)
            _check_workers(report, corpus, data, (0, 2) if quick else (0, 2, 8))
            _check_tokens(report, rows, corpus, data)
    finally:
        torch.set_num_threads(threads)
    return report


def _time(
    report: Report,
    rows: list[Row],
    corpus: Corpus,
    data: DataOptions,
    *,
    workers: int,
    rounds: int,
    quick: bool,
) -> None:
    published = build_loader(rows, SIZE, BATCH, workers)
    goal = 5 if workers == 0 and not quick else None
    for label, to_device in (("uint8 for the device", True), ("normalised and erased on the CPU", False)):
        ours = make_loader(corpus, data, workers)
        if to_device:
            leave_to_device(ours)
        timing = interleave(lambda: exhaust(published), lambda ours=ours: read_epoch(ours), rounds=rounds)
        name = f"{workers} workers: {label}"
        report.cases.append(Case(name, timing, goal if to_device else None, len(rows)))


def make_loader(corpus: Corpus, data: DataOptions, workers: int) -> TrainLoader:
    """The project's training loader, shuffled, on the CPU."""
    return TrainLoader(corpus, data, Views(), seed=1, workers=workers, sampler="shuffled", device="cpu")


def leave_to_device(loader: TrainLoader) -> None:
    """Leaves out what a GPU does after the copy: normalising and erasing."""
    loader._transform.finish = lambda batch, *, epoch: None  # type: ignore[method-assign]


def exhaust(loader: Any) -> None:
    """One epoch of the published loader."""
    for _ in loader:
        pass


def read_epoch(loader: TrainLoader) -> None:
    """One epoch of the project's loader, words masked as the system does."""
    for batch in loader.epoch(1):
        mask_words(
            batch["tokens"],
            0.15,
            caption_index=batch["caption_index"],
            seed=1,
            epoch=1,
            tokenizer=CLIP_TOKENIZER,
        )


def _check_workers(report: Report, corpus: Corpus, data: DataOptions, counts: tuple[int, ...]) -> None:
    first = list(make_loader(corpus, data, counts[0]).epoch(2))
    for workers in counts[1:]:
        other = list(make_loader(corpus, data, workers).epoch(2))
        same = len(first) == len(other) and all(are_equal(a, b) for a, b in zip(first, other, strict=True))
        report.check(
            f"{counts[0]} and {workers} workers give identical batches",
            same,
            f"{len(other)} batches, every entry",
        )


def are_equal(one: Batch, other: Batch) -> bool:
    """Same entries, bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]  # type: ignore[literal-required]
        for name, value in one.items()
    )


def _check_tokens(report: Report, rows: list[Row], corpus: Corpus, data: DataOptions) -> None:
    """Every caption of an epoch once, with the published ids, identity and image."""
    tokenizer = build_tokenizer()
    seen: list[int] = []
    same = True
    for batch in make_loader(corpus, data, 0).epoch(1):
        for place, caption in enumerate(batch["caption_index"].tolist()):
            identity, image, _, text = rows[caption]
            seen.append(caption)
            same &= torch.equal(batch["tokens"][place], tokenize_caption(text, tokenizer))
            same &= int(batch["identity"][place]) == identity and int(batch["image_index"][place]) == image
    same &= sorted(seen) == list(range(len(rows)))
    report.check("an epoch holds every published pair once, ids equal", same, f"{len(seen):,} pairs")
