"""Captions of a million requests by the engine that has no model: memory, rate, and how soon status answers.

Each command is a process of its own, as a person starts it; no image exists and none is opened.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.process_memory import MEBIBYTE
from benchmarks.report import Report

VIEWS = 2
MOST_MEGABYTES = 1_000
"""Peak memory that plan and merge may take."""


CHILD = """
import sys
from pathlib import Path
from tpr.cli import main
code = main(sys.argv[1:])
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
sys.exit(code)
"""
"""Its own peak: what `wait` tells of a child begins with what its parent held."""


class Measured(NamedTuple):
    """One command."""

    seconds: float
    processor_seconds: float
    peak_bytes: float


def run(quick: bool) -> Report:
    """Two captions of each image: plan, run, status, merge, verify."""
    images = 2_000 if quick else 500_000
    requests = VIEWS * images
    load = os.getloadavg()[0]
    report = Report("caption", f"{requests:,} requests, engine echo, one process, load {load:.1f}")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_set(root / "data", images)
        plan, out = root / "plan", root / "out"
        commands = {
            "plan": [
                "jsonl", plan, "--root", root / "data", "--options", "path=mine/people.jsonl",
                "--engine-options", "open_images=false",
            ],
            "run": [plan, "--root", root],
            "status": [plan],
            "merge": [plan, "--form", "ham_pedes", "--out", out],
            "verify": [plan],
        }  # fmt: skip
        for command, words in commands.items():
            found = measure(root, "caption", command, *words)
            goal = {"run": f", {requests / found.seconds:,.0f}/s (goal: 5,000 on two cores)"}.get(command, "")
            goal = " (goal: under 2)" if command == "status" else goal
            report.facts[f"{command}, s{goal}"] = found.seconds
            report.facts[f"{command}, s of a processor"] = found.processor_seconds
            report.check_limit(
                f"{command}: peak memory", found.peak_bytes / MEBIBYTE, MOST_MEGABYTES * 1e6 / MEBIBYTE, "MiB"
            )
        captions = sum(map(len, json.loads((out / "ham_pedes.json").read_text()).values()))
        failures = len((out / "failures.jsonl").read_text().splitlines())
        answered = captions + failures
        report.check("every request is a caption or a failure", answered == requests, f"{answered:,}")
    return report


def write_set(root: Path, images: int) -> None:
    """One line per image, in the form of one's own data."""
    (root / "mine").mkdir(parents=True)
    with (root / "mine" / "people.jsonl").open("w", encoding="utf-8") as file:
        for number in range(images):
            file.write(f'{{"image": "{number // 1000:04d}/{number:07d}.jpg", "identity": {number // 4}}}\n')


def measure(root: Path, *words: object) -> Measured:
    """Run one `tpr` command to its end, in a process that then tells its peak."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, words)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(root / "cache")},
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(seconds, spent, float(found.stdout.split()[-1]) * 1024)
