"""What a person sees of a command: its exit code, its lines, its tables."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from tests.processes import Processes

ROOT = Path(__file__).parents[2]
METRICS = ["R@1", "R@5", "R@10", "mAP", "mINP"]


@dataclass(frozen=True)
class Outcome:
    """What a command leaves on the screen."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line on standard error of a command that ended with a user's mistake."""
        assert self.code == 2, f"exit code {self.code}: {self.out}\n{self.err}"
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


Type = Callable[..., Outcome]
"""Runs `tpr WORDS...`."""


def read_table(text: str) -> dict[str, list[float]]:
    """The rows of the last table of results in the text: label -> R@1, R@5, R@10, mAP, mINP."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    start = max(number for number, row in enumerate(rows) if row[0] == "dataset")
    first = rows[start].index("R@1")
    assert rows[start][first : first + 5] == METRICS
    own = takewhile(lambda row: row[0] != "published", rows[start + 1 :])
    return {" ".join(row[:first]): list(map(float, row[first : first + 5])) for row in own}


def make_environment(**variables: str) -> dict[str, str]:
    """This process's environment for another: one thread, and no warnings of libraries."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | variables


def run_script(script: str, *words: object, **variables: str) -> Outcome:
    """`sh SCRIPT WORDS...` in the checkout with these environment variables."""
    with Processes() as processes:
        done = processes.run(["sh", script, *map(str, words)], cwd=ROOT, env=make_environment(**variables))
    return Outcome(done.returncode, done.stdout, done.stderr)
