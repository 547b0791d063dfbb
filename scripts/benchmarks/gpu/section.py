"""What a section of the GPU benchmark hands back, and where it measures."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import Check

MATRIX = 8192
"""Rows and columns of the matrices whose product gives a GPU's peak."""
SMALL_MATRIX = 256


def keep_nothing() -> None:
    """Where results are not written."""


@dataclass(frozen=True)
class Table:
    """One table of results; cells are written as they stand."""

    title: str
    columns: Sequence[str]
    keep: Callable[[], None]
    """Writes what was found so far: a run may be cut at any time."""
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Adds one row and keeps it."""
        self.rows.append(cells)
        self.keep()

    def as_markdown(self) -> str:
        """The table, its title above it."""
        head = [self.columns, ["---"] * len(self.columns)]
        return "\n".join(
            [f"**{self.title}**", "", *("| " + " | ".join(row) + " |" for row in [*head, *self.rows])]
        )


@dataclass
class Section:
    """What one section found so far; it is complete as long as `error` is absent."""

    name: str
    keep: Callable[[], None] = keep_nothing
    """Writes what was found so far."""
    tables: list[Table] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None

    def add_table(self, title: str, *columns: str) -> Table:
        """An empty table."""
        self.tables.append(Table(title, columns, self.keep))
        return self.tables[-1]

    def check(self, what: str, passed: bool, found: object) -> None:
        """Adds one statement."""
        self.checks.append(Check(what, bool(passed), str(found)))

    @property
    def passed(self) -> bool:
        """True when nothing broke and every check held."""
        return self.error is None and all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        tables = [{"title": each.title, "columns": each.columns, "rows": each.rows} for each in self.tables]
        checks = [asdict(check) for check in self.checks]
        plain = {"name": self.name, "facts": self.facts, "seconds": self.seconds, "error": self.error}
        return plain | {"tables": tables, "checks": checks}

    def as_markdown(self) -> str:
        """Facts, tables, then the number of checks, those that failed in full."""
        parts = [f"## {self.name} ({self.seconds:.0f} s)"]
        parts.append("\n".join(f"- {name}: {value}" for name, value in self.facts.items()))
        parts += [table.as_markdown() for table in self.tables]
        failed = [f"- FAILED {check.what}: {check.found}" for check in self.checks if not check.passed]
        if self.checks:
            parts.append(f"{len(self.checks) - len(failed)} of {len(self.checks)} checks held.")
        parts += ["\n".join(failed)] if failed else []
        parts += [f"STOPPED by {self.error}"] if self.error else []
        return "\n\n".join(part for part in parts if part)


@dataclass
class Bench:
    """Where sections measure, how large and for how long."""

    device: torch.device
    quick: bool
    """Small sizes and few rounds, for a machine without a GPU."""
    full: bool
    """Everything that is left out for time otherwise."""
    deadline: float
    """`time.perf_counter()` at which no further measurement starts."""
    folder: Path
    """Where a run may leave files; it goes when all is measured."""
    _peak: float | None = None

    @property
    def peak(self) -> float:
        """FLOP/s of a large bf16 matrix product of random numbers, measured once."""
        if self._peak is None:
            self._peak = measure_peak(self)
        return self._peak

    @property
    def has_time(self) -> bool:
        """Whether there is time for one more measurement."""
        return time.perf_counter() < self.deadline

    def wait(self) -> None:
        """Until the device has done everything that it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(self, call: Callable[[], object], *, warm: int = 3, rounds: int = 20) -> float:
        """Seconds of one call, the mean over `rounds` calls without a pause; `quick` makes two."""
        warm, rounds = (1, 2) if self.quick else (warm, rounds)
        for _ in range(warm):
            call()
        self.wait()
        start = time.perf_counter()
        for _ in range(rounds):
            call()
        self.wait()
        return (time.perf_counter() - start) / rounds

    def describe(self, count: int, seconds: float, flops: int) -> tuple[str, str, str]:
        """Things per second, milliseconds and share of the peak of a call over `count` things, as text."""
        share = flops / seconds / self.peak
        return f"{count / seconds:,.0f}", f"{1e3 * seconds:.1f}", f"{100 * share:.1f} %"

    def forget_memory(self) -> None:
        """Gives unused memory back and starts to measure the peak anew."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def read_memory(self) -> str:
        """Most memory that tensors took since `forget_memory`, in GiB."""
        if self.device.type != "cuda":
            return "-"
        return f"{torch.cuda.max_memory_allocated(self.device) / 2**30:.1f}"


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of one call, by torch's counter."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def measure_peak(bench: Bench) -> float:
    """FLOP/s of a square bf16 matrix product: what everything else is a share of."""
    size = SMALL_MATRIX if bench.quick else MATRIX
    one, other = (torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / bench.time(lambda: one @ other, rounds=40)
