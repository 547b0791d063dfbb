"""What a benchmark hands back, and how it is printed or written as JSON."""

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

from prettytable import PrettyTable

from benchmarks.timing import Timing


@dataclass(frozen=True)
class Case:
    """One pair at one size."""

    label: str
    timing: Timing
    goal: float | None = None
    """Ratio to reach at full size on a CPU, or not to exceed where the report is of costs."""
    items: int | None = None
    """Things handled per call, for a rate."""


@dataclass(frozen=True)
class Check:
    """One statement that must hold, about results or memory, never about time."""

    what: str
    passed: bool
    found: str


@dataclass
class Report:
    """Everything one sub-command found."""

    name: str
    conditions: str
    """Batch, dtype, threads and sizes."""
    sides: tuple[str, str] = ("A: published recipe", "B: this project")
    """What the two sides of every pair are."""
    of_costs: bool = False
    """True where A is the project with something and B without: ratios are then what that costs."""
    tables: list[str] = field(default_factory=list)
    """Text tables below the pairs."""
    cases: list[Case] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, float | str] = field(default_factory=dict)
    """Single numbers without a partner."""

    def check(self, what: str, passed: bool, found: object) -> None:
        """Adds one statement."""
        self.checks.append(Check(what, bool(passed), str(found)))

    def check_limit(self, what: str, value: float, limit: float, unit: str) -> None:
        """Adds a statement about memory; it holds, unmeasured, where the system does not tell."""
        found = "not measured on this system" if math.isnan(value) else f"{value:,.1f} of {limit:,.1f} {unit}"
        self.check(what, math.isnan(value) or value <= limit, found)

    @property
    def passed(self) -> bool:
        """True when every check held."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "conditions": self.conditions,
            "cases": [_case_dict(case) for case in self.cases],
            "checks": [vars(check) for check in self.checks],
            "facts": self.facts,
            "tables": self.tables,
            "passed": self.passed,
        }

    def as_text(self) -> str:
        """Table of pairs, then facts, then checks."""
        lines = [f"== {self.name}: {self.conditions}"]
        if self.cases:
            lines.append(_case_table(self).get_string())
        lines += self.tables
        lines += [f"  {name}: {_show(value)}" for name, value in self.facts.items()]
        lines += [f"  {'ok  ' if c.passed else 'FAIL'} {c.what}: {c.found}" for c in self.checks]
        return "\n".join(lines)


def _case_dict(case: Case) -> dict[str, Any]:
    timing = case.timing
    return {
        "label": case.label,
        "goal": case.goal,
        "ratio": timing.ratio,
        "ratios": timing.ratios,
        "seconds_a": timing.seconds_a,
        "seconds_b": timing.seconds_b,
        "items": case.items,
    }


def _case_table(report: Report) -> PrettyTable:
    ratio, sign = ("A / B", "<=") if report.of_costs else ("times as fast", ">=")
    table = PrettyTable(["pair", *report.sides, ratio, "goal"], align="r")
    table.align["pair"] = "l"
    for case in report.cases:
        ratios = case.timing.ratios
        table.add_row(
            [
                case.label,
                _spread(case.timing.seconds_a, case.items),
                _spread(case.timing.seconds_b, case.items),
                f"{case.timing.ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                f"{sign} {case.goal:g}" if case.goal else "",
            ]
        )
    return table


def _spread(seconds: tuple[float, ...], items: int | None) -> str:
    middle = statistics.median(seconds)
    text = f"{_seconds(middle)} ({_seconds(min(seconds))} to {_seconds(max(seconds))})"
    return f"{text}, {items / middle:,.0f}/s" if items else text


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.4g}"
