"""The end of a run: its results file, its images, and the lines a person reads last."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tpr.config.schema import Experiment
from tpr.engine.run_folder import QUERIES_FILE, RESULTS_FILE
from tpr.errors import TrainingError
from tpr.evaluation.evaluator import Evaluator
from tpr.evaluation.query_table import write_queries
from tpr.evaluation.rows import Results
from tpr.report.console import say
from tpr.report.gallery import draw_rankings
from tpr.report.published import tabulate_published
from tpr.report.recorder import RunRecorder
from tpr.report.result_table import draw_table
from tpr.report.runs import Closing, group_seeds, read_closing, read_runs, tabulate_runs
from tpr.systems.base import System
from tpr.whole_files import write_whole

IMAGE = "ranking.png"


def write_results(
    folder: Path, results: Results, before: Mapping[str, Any], epoch: int, *, finished: bool
) -> None:
    """Keep the final numbers and what each query found.

    finished: tells a whole run from one that `runtime.max_steps` cut.
    """
    content = {
        "results": results.to_json(),
        "before": dict(before),
        "best_epoch": epoch,
        "finished": finished,
    }
    try:
        # First: a run with results is not measured again.
        write_queries(folder / QUERIES_FILE, results.list_queries())
        write_whole(folder / RESULTS_FILE, json.dumps(content, indent=2))
    except OSError as error:
        raise TrainingError(
            f"{folder / RESULTS_FILE}: the results cannot be written ({error.strerror or error}); free or "
            "unlock the folder, then start the same command again"
        ) from error


def draw_images(folder: Path, evaluator: Evaluator, system: System, recorder: RunRecorder, step: int) -> None:
    """ranking.png over all test sets, also for TensorBoard. Every rank must call it, the main one draws."""
    queries, tests = evaluator.experiment.report.ranking_queries, evaluator.corpora.test
    if not queries or not tests:
        return
    each = max(1, queries // len(tests))
    sections = {name: (corpus, evaluator.list_examples(system, name, each)) for name, corpus in tests.items()}
    if recorder.journal.is_writing:
        max_pixels = evaluator.experiment.data.max_image_pixels
        draw_rankings(folder / IMAGE, sections, max_pixels=max_pixels)
        recorder.journal.image("ranking", np.asarray(Image.open(folder / IMAGE).convert("RGB")), step)


def say_closing(folder: Path, experiment: Experiment) -> None:
    """Print the table of a run, where everything is, and what to type next."""
    closing = read_closing(folder)
    if closing is not None:
        say(draw_table(closing.results, f"{folder.name}: test sets, %, epoch {closing.epoch}"))
    if closing is not None and experiment.report.published:
        say(tabulate_published(experiment.report.published, [closing.results]))
    say(f"run folder:  {folder}")
    say(f"checkpoint:  {folder / 'best.pt'}")
    if (folder / IMAGE).exists():
        say(f"rankings:    {folder / IMAGE}")
    say(f"next:        {suggest_command(folder, experiment, closing)}")


def say_comparison(folders: Sequence[Path]) -> None:
    """Print the table over several runs, and how to see more of them."""
    say(tabulate_runs(group_seeds(read_runs(folders))))
    say(f"next:        {find_program()} report --each --curves curves.png {shlex.join(map(str, folders))}")


def suggest_command(folder: Path, experiment: Experiment, closing: Closing | None) -> str:
    """Fine-tuning where the recipe names one for it, a closer look at the numbers after any other run."""
    if experiment.report.finetune is not None and experiment.init.checkpoint is None:
        return f"sh finetune.sh --finetune {folder / 'best.pt'}"
    # Rows that are means over galleries have no intervals.
    has_intervals = closing is not None and any(row.is_averaged for row in closing.results.rows)
    return f"{find_program()} evaluate {folder / 'best.pt'}{' --intervals' if has_intervals else ''}"


def find_program() -> str:
    """The command `tpr` as it can be typed here."""
    return shutil.which("tpr") or os.path.relpath(Path(sys.executable).with_name("tpr"))
