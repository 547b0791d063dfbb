"""Scores of a test set of ICFG-PEDES' size on the device: ranks by counting against the published sort."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.gpu.section import Bench, Section, Table
from benchmarks.inputs import draw_features
from benchmarks.metrics import scores_of
from benchmarks.reference.ranking import rank_by_argsort


def run(bench: Bench, section: Section) -> None:
    """19,848 captions against as many images of 1,000 identities, 512 values each."""
    size, identities = (512, 64) if bench.quick else (19_848, 1_000)
    problem = tuple(part.to(bench.device) for part in draw_features(size, size, identities))
    table = section.add_table(
        f"{size:,} x {size:,} scores on the device", "side", "seconds", "extra memory, GiB"
    )
    published, ours = (
        _measure(bench, table, name, side, problem)
        for name, side in (
            ("A: published, the whole gallery sorted", rank_by_argsort),
            ("B: this project", lambda *parts: scores_of(parts)),
        )
    )
    difference = max(abs(a - b) for a, b in zip(published, ours, strict=True))
    section.check(
        "both sides agree up to one query's place",
        difference <= 100 / size + 1e-3,
        f"R@1 {ours[0]:.3f} and {published[0]:.3f}, mAP {ours[3]:.4f} and {published[3]:.4f}",
    )


def _measure(
    bench: Bench,
    table: Table,
    name: str,
    side: Callable[..., list[float]],
    problem: tuple[Tensor, ...],
) -> list[float]:
    """The side's five numbers, and a row of what they cost."""
    bench.forget_memory()
    before = torch.cuda.memory_allocated(bench.device) / 2**30 if bench.device.type == "cuda" else 0.0
    found: list[list[float]] = []
    seconds = bench.time(lambda: found.append(side(*problem)), warm=1, rounds=3)
    memory = bench.read_memory()
    if bench.device.type == "cuda":
        memory = f"{float(memory) - before:.2f}"
    table.add(name, f"{seconds:.3f}", memory)
    return found[-1]
