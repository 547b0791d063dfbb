"""Whole training runs on the drawn world, in silence, for benchmarks of what is learnt."""

import contextlib
import io
import json
import logging
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from tpr.commands.resolve import resolve_experiment
from tpr.commands.train import train
from tpr.config.schema import Experiment

CONFIGS = Path(__file__).parents[2] / "configs" / "drawn"


def train_drawn(config: str, folder: Path, words: Sequence[str]) -> tuple[Experiment, Path]:
    """One run of a drawn recipe on `folder`/data with settings on top; its experiment and its run folder."""
    output = Path(tempfile.mkdtemp(dir=folder))
    settings = [f"data.root={folder / 'data'}", f"data.cache={folder / 'cache'}", f"runtime.output={output}"]
    experiment = resolve_experiment([str(CONFIGS / config), *settings, *words])
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        out = train(experiment, torch.device("cpu"))
    logging.disable(logging.INFO)
    return experiment, out


def read_r1(out: Path) -> float:
    """Mean R@1 over the test sets of a finished run."""
    rows = json.loads((out / "results.json").read_text())["results"]["rows"]
    return statistics.mean(row["measures"]["r1"] for row in rows)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and sample deviation."""
    text = f"{statistics.mean(values):.{digits}f}"
    return f"{text} +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else f"{text} (one run)"
