"""Runs that are killed at any moment and started again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import torch

from fuzzing.sets import draw_sets
from fuzzing.verdict import Kind, Verdict

ROOT = Path(__file__).parents[2]
TINY = (
    "model.architecture={embed_dim: 16, image: {width: 16, layers: 1, heads: 2}, "
    "text: {width: 16, layers: 1, heads: 2}}",
    "model.weights=null", "data.image_size=[32,16]", "data.batch=4", "schedule.epochs=3",
    "schedule.warmup_epochs=0", "runtime.device=cpu", "runtime.workers=0", "runtime.save_every_steps=2",
    "runtime.log_every_steps=1", "report.tensorboard=false", "report.ranking_queries=0",
)  # fmt: skip
"""A run of a minute at most, most of which is its start."""
NAME = "killed"
MOST_KILLS = 4
SECONDS = 600
UNSTABLE = frozenset({"config", "versions"})
"""What of a checkpoint names places of this machine."""


class Resume(Kind):
    """However often a run is killed, its end is that of a run that was left alone, bit for bit."""

    longest_attempt = 3600.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.root = draw_sets(folder, ["rstpreid"])
        started = time.monotonic()
        self._run("alone")
        self.seconds = time.monotonic() - started
        self.before = self._read("alone")

    def attempt(self, random: Random) -> Verdict:
        """Kill a run a few times, let it end, and compare."""
        shutil.rmtree(self.folder / "again", ignore_errors=True)
        for _ in range(random.randint(1, MOST_KILLS)):
            moment = self.seconds * random.uniform(0.2, 1.1)
            # SIGKILL as a machine that loses its power, SIGTERM as a cluster that takes it back.
            self._run("again", moment, random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        self._run("again")
        return Verdict.SAME if _are_equal(self.before, self._read("again")) else Verdict.SILENT

    def _run(self, output: str, moment: float = SECONDS, end: int = signal.SIGKILL) -> None:
        """One start of the run, which gets the signal if it is still at work at that moment."""
        words = [
            "train", str(ROOT / "configs/irra/rstpreid.yaml"), *TINY, f"data.root={self.root}",
            f"data.cache={self.folder / 'cache'}", f"runtime.output={self.folder / output}", f"name={NAME}",
        ]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "tpr", *words],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        is_ended = False
        try:
            _, said = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(end)
            _, said = process.communicate(timeout=SECONDS)
            is_ended = moment < SECONDS
        finally:
            process.kill()
        if process.returncode and not is_ended:
            text = said.decode(errors="replace")
            raise RuntimeError(f"a run ended with code {process.returncode}: {text}")

    def _read(self, output: str) -> Any:
        folder = self.folder / output / NAME
        last = torch.load(folder / "last.pt", weights_only=True)
        kept = {key: value for key, value in last.items() if key not in UNSTABLE}
        return kept, (folder / "results.json").read_text()


def _are_equal(one: Any, other: Any) -> bool:
    """Equality of nested values with tensors in them; NaN equals itself."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_are_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return bool(one == other or (one != one and other != other))
