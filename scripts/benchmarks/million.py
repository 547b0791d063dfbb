"""A corpus of many images with four captions each: how fast it opens, what it costs on disk and in workers.

The four caption files of LUPerson-MLLM are written here; no image exists.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from benchmarks.inputs import draw_captions
from benchmarks.process_memory import MEBIBYTE, peak_growth, private_bytes
from benchmarks.project import open_training
from benchmarks.report import Report
from tpr.config.schema import DataOptions
from tpr.data.adapters.luperson_mllm import FILES
from tpr.data.samples.loader import Task, TrainLoader, Work, Workers
from tpr.data.samples.views import Views
from tpr.data.tables.corpus import Corpus

WORKERS = 8
BYTES_PER_SAMPLE = 100
"""Of index beside the text, on disk."""
OPEN_SECONDS = 3
"""Goal for opening a million images the second time."""
WORKER_MEGABYTES = 400
"""Private memory that eight workers may add in all by reading a million images' text once."""
AT_ONCE = 256


def measure_corpus(report: Report, images: int, *, tokens: bool) -> None:
    """Writes, opens, opens again and reads; adds facts and checks under the number of images."""
    label = f"{images:,} images x 4 captions"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_annotations(root, images)
        started = time.perf_counter()
        open_loader(root)
        report.facts[f"{label}: parsed and tokenised, once, s"] = time.perf_counter() - started
        started = time.perf_counter()
        loader, corpus, data = open_loader(root)
        opened = f"{label}: opened the second time, s (goal: under {OPEN_SECONDS} at a million)"
        report.facts[opened] = time.perf_counter() - started
        started = time.perf_counter()
        order = loader.sampler.order(1)
        report.facts[f"{label}: order of an epoch, s"] = time.perf_counter() - started
        report.check(f"{label}: every caption is a sample", len(order) == 4 * images, f"{len(order):,}")
        _check_index(report, label, root, corpus)
        _check_workers(report, label, loader, corpus, images)
        published = images if images < 200_000 else 200_000
        report.facts["published list of tuples, bytes per sample in memory"] = measure_tuples(
            corpus, published
        )


def write_annotations(root: Path, images: int) -> None:
    """The four caption files of LUPerson-MLLM for images that do not exist; 20,000 different captions."""
    folder = root / "LUPerson-MLLM" / "captions"
    folder.mkdir(parents=True)
    pool = [json.dumps(caption) for caption in draw_captions(20_000)]
    random = np.random.default_rng(1)
    for file in FILES:
        chosen = random.integers(0, len(pool), images).tolist()
        lines = (
            f'"{number:07d}_{number % 977:04d}_crop.jpg": {pool[pick]}' for number, pick in enumerate(chosen)
        )
        with (folder / file).open("w", encoding="utf-8") as out:
            out.write("{" + ",\n".join(lines) + "}")


def open_loader(root: Path) -> tuple[TrainLoader, Corpus, DataOptions]:
    """Corpus, tokens and loader of the text alone, as a run opens them."""
    corpus, data = open_training(root, "luperson_mllm", batch=512)
    views = Views(image=False)
    loader = TrainLoader(corpus, data, views, seed=1, workers=WORKERS, sampler="shuffled", device="cpu")
    return loader, corpus, data


def _check_index(report: Report, label: str, root: Path, corpus: Corpus) -> None:
    """Bytes on disk beside the captions, with and without their token ids, per image and caption pair."""
    sizes = {path: path.stat().st_size for path in (root / "cache").rglob("*") if path.is_file()}
    text = sum(
        pc.sum(pc.binary_length(chunk.flatten())).as_py() for chunk in corpus.table.column("captions").chunks
    )
    ids = sum(size for path, size in sizes.items() if path.name == "ids.npy")
    index = (sum(sizes.values()) - text - ids) / corpus.caption_count
    report.facts[f"{label}: token ids, bytes per sample"] = ids / corpus.caption_count
    what = f"{label}: at most {BYTES_PER_SAMPLE} bytes of index per sample, token ids included"
    whole = index + ids / corpus.caption_count
    report.check(what, whole <= BYTES_PER_SAMPLE, f"{whole:.1f} bytes, {index:.1f} without the ids")


def _check_workers(report: Report, label: str, loader: TrainLoader, corpus: Corpus, images: int) -> None:
    """Private memory of eight workers before and after they read every path, caption and token row once."""
    samples = loader.samples

    def answer(task: Task) -> Work:
        if not len(task.samples):
            time.sleep(0.2)
            return Work({"process": os.getpid(), "private": torch.tensor(private_bytes())})
        samples.describe(task.samples, 1)
        rows = np.unique(samples.find_rows(task.samples)).tolist()
        for row in rows:
            corpus.image_path(row)
            corpus.captions(row)
        return Work({"rows": len(rows)})

    workers = Workers(answer, WORKERS, torch.device("cpu"))
    nothing = np.zeros(0, dtype=np.int64)
    every = np.arange(4 * images, dtype=np.int64)
    before = _ask(workers, [Task(nothing)] * WORKERS)
    started = time.perf_counter()
    size = 4 * AT_ONCE
    read = _ask(workers, [Task(every[start : start + size]) for start in range(0, len(every), size)])
    report.facts[f"{label}: read once by {WORKERS} workers, s"] = time.perf_counter() - started
    after = _ask(workers, [Task(nothing)] * WORKERS)
    count = _total(read, "rows")
    same = {entry["process"] for entry in before} == {entry["process"] for entry in after}
    report.check(
        f"{label}: the workers read every image's text",
        count == images and same,
        f"{_total(read, 'rows'):,}",
    )
    dirty, clean = ((_total(after, "private") - _total(before, "private")) / MEBIBYTE).tolist()
    report.facts[f"{label}: page cache mapped by one worker only, MiB"] = clean
    what = f"{label}: private memory of {WORKERS} workers beyond idle ones"
    report.check_limit(what, dirty, WORKER_MEGABYTES * 1e6 / MEBIBYTE, "MiB")


def _ask(workers: Workers, tasks: list[Task]) -> list[dict[str, Any]]:
    return [dict(work.entries) for work in workers.run(tasks)]


def _total(entries: list[dict[str, Any]], name: str) -> Any:
    return sum(entry[name] for entry in entries)


def measure_tuples(corpus: Corpus, images: int) -> float:
    """Bytes per sample of the published index: a Python list of (identity, image number, path, caption)."""
    kept: list[Any] = []

    def build() -> None:
        for row in range(images):
            path = f"{corpus.root}/{corpus.image_path(row)}"
            kept.extend((row, row, path, caption) for caption in corpus.captions(row))

    growth = peak_growth(build)
    text = sum(len(row[3]) for row in kept)
    return (growth - text) / len(kept)
