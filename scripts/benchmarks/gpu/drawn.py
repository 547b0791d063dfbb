"""The quick start's pre-training on the device: it must end where it ends on a CPU."""

import subprocess
import sys
import time

from benchmarks.drawn_runs import read_r1
from benchmarks.gpu.section import Bench, Section
from benchmarks.gpu.stepper import CONFIGS
from benchmarks.machine import count_cores

EXPECTED = (25.0, 36.0)
"""Mean R@1 over three seeds on a CPU, 30.5, plus and minus three deviations of 1.6."""
LIMIT_SECONDS = 150


def run(bench: Bench, section: Section) -> None:
    """Draws the world, trains and tests; `quick` draws a small one and takes a few steps."""
    table = section.add_table("configs/drawn/pretrain.yaml", "what", "measured")
    folder, cores = bench.folder / "drawn", count_cores()
    words = ["--identities", "4"] if bench.quick else []
    drawing = _start("draw", str(folder / "data"), "--workers", str(cores), *words)
    table.add("drawing", f"{drawing:.0f} s")
    training = _start(
        "train",
        str(CONFIGS / "drawn" / "pretrain.yaml"),
        f"data.root={folder / 'data'}",
        f"data.cache={folder / 'cache'}",
        f"runtime.output={folder / 'runs'}",
        f"runtime.workers={min(8, cores)}",
        *(["runtime.max_steps=2", "data.batch=8"] if bench.quick else []),
    )
    table.add("training and tests", f"{training:.0f} s")
    (results,) = folder.glob("runs/*/results.json")
    r1 = read_r1(results.parent)
    table.add("mean R@1 of direct transfer", f"{r1:.2f}")
    if not bench.quick:
        low, high = EXPECTED
        section.check("R@1 is that of a CPU", low <= r1 <= high, f"{r1:.2f}, expected {low:g} to {high:g}")


def _start(*words: str) -> float:
    """Seconds of one command of the package. Raises RuntimeError with its last line where it fails."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "tpr", *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if found.returncode:
        raise RuntimeError(f"{' '.join(words[:2])}: {found.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start
