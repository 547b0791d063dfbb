"""Small run folders as the program writes them: config.yaml, journal.jsonl, results.json, and no training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tpr.config.schema import Choice, DataOptions, Experiment
from tpr.data.adapters import ADAPTERS
from tpr.engine.run_folder import open_folder
from tpr.evaluation.metrics import Metrics
from tpr.evaluation.results import Direction, Results, Row
from tpr.models.clip import ClipOptions
from tpr.report.closing import write_results
from tpr.report.journal import Journal
from tpr.systems import SYSTEMS

Score = tuple[int, int, str, Results]
"""Epoch, step, split, and what was found."""


def make_results(mark: str = "", direction: Direction = "text_to_image", **r1: float) -> Results:
    """A row per set: R@1 as given, R@5 and R@10 one and two above it, mAP the half, mINP a quarter."""
    rows = []
    for name, value in r1.items():
        metrics = Metrics(r1=value, r5=value + 1, r10=value + 2, map=value / 2, minp=value / 4, queries=9)
        rows.append(Row(name, direction, metrics))
    return Results(tuple(rows), mark)


def make_experiment(seed: int = 1, **options: Any) -> Experiment:
    """IRRA on CUHK-PEDES; options: whole groups."""
    cuhk = Choice("cuhk_pedes", ADAPTERS["cuhk_pedes"].Options())
    groups: dict[str, Any] = {
        "system": Choice("irra", SYSTEMS["irra"].Options()),
        "model": Choice("clip", ClipOptions()),
        "data": DataOptions(root=Path("data"), train=(cuhk,), test=(cuhk,)),
    }
    return Experiment(seed=seed, **(groups | options))


def write_run(
    folder: Path,
    results: Results | None = None,
    *,
    before: Results | None = None,
    finished: bool = True,
    losses: Mapping[int, float] | None = None,
    scores: Sequence[Score] = (),
    **options: Any,
) -> Path:
    """A run that went so far; without results it is not finished.

    losses: step -> loss, five steps in an epoch. options: those of the experiment, by group.
    """
    open_folder(folder, make_experiment(**options))
    journal = Journal(folder, tensorboard=False)
    for step, loss in (losses or {}).items():
        journal.step(step, 1 + (step - 1) // 5, {"loss": loss}, {}, lr=1e-5, pairs_per_second=9.0)
    for epoch, step, split, found in scores:
        journal.evaluation(step, epoch, split, found)
    journal.close()
    if results is not None:
        write_results(folder, results, before.to_json() if before else {}, 1, finished=finished)
    return folder
