"""Small run folders as the program writes them: config.yaml, journal.jsonl, results.json, and no training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tpr.config.schema import Choice, DataOptions, Experiment
from tpr.data.adapters import ADAPTERS
from tpr.engine.run_folder import open_folder
from tpr.evaluation.rows import Results, Row
from tpr.models.clip import ClipOptions
from tpr.report.closing import write_results
from tpr.report.journal import Journal
from tpr.systems import SYSTEMS

Score = tuple[int, int, str, Results]
"""Epoch, step, split, and what was found."""


def make_results(mark: str = "", direction: str = "text_to_image", **r1: float) -> Results:
    """A row per dataset with these R@1, as `make_row` has them."""
    return Results(tuple(make_row(name, value, direction=direction) for name, value in r1.items()), mark)


def make_row(name: str, r1: float, **labels: Any) -> Row:
    """A row of texts and images: R@5 and R@10 one and two above R@1, mAP the half, mINP a quarter."""
    measures = {"r1": r1, "r5": r1 + 1, "r10": r1 + 2, "map": r1 / 2, "minp": r1 / 4}
    own = {
        "protocol": "text",
        "measures": measures,
        "is_main": labels.get("direction") != "image_to_text",
        "facts": {"queries": 9, "unmatched": 0},
    }
    return Row(name=name, **(own | labels))


def make_crossed_row(name: str, r1: float, **labels: Any) -> Row:
    """A row of a visible-infrared set: as `make_row`, with R@20 three above R@1."""
    measures = {"r1": r1, "r5": r1 + 1, "r10": r1 + 2, "r20": r1 + 3, "map": r1 / 2, "minp": r1 / 4}
    own = {
        "protocol": "visible_infrared",
        "measures": measures,
        "direction": "infrared_to_visible",
        "facts": {"queries": 9, "unmatched": 0, "trials": 1},
    }
    return Row(name=name, **(own | labels))


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
