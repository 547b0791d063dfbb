"""What an evaluation found: a row per dataset and search, their means, and plain values to store.

A row is open: any protocol fills it with its measures, what tells its rows apart, facts and notes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import hypot, isfinite
from typing import Any

from tpr.config.measures import MEASURES
from tpr.evaluation.intervals import Interval
from tpr.evaluation.older_rows import read_older_row
from tpr.evaluation.query_table import QueryTable, RowLabel
from tpr.evaluation.tie_note import Ties

MEAN = "mean"
"""Name of the row that averages over datasets."""
SELECTED_ON_TEST = "the best epoch was selected on the test sets, as published"
"""Mark of a table whose numbers are optimistic."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One dataset in one search."""

    name: str
    """Dataset."""
    protocol: str
    """What measured it."""
    measures: Mapping[str, float]
    """By name in `MEASURES`, in percent."""
    direction: str = ""
    """Who searches whom, such as text_to_image."""
    is_main: bool = True
    """Whether papers print this direction."""
    search: str = ""
    """Which of the dataset's searches; empty where it has one."""
    query: str = ""
    """Kind of query; empty where the dataset has one."""
    facts: Mapping[str, int] = field(default_factory=dict)
    """Counts: queries, unmatched, trials."""
    deviations: Mapping[str, float] = field(default_factory=dict)
    """Sample deviation of each measure over the trials, where there are several."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """95 % interval of each measure, where asked for."""
    notes: tuple[str, ...] = ()
    """What to beware of; stands under every table with this row, once."""
    model: str = ""
    """What was measured, such as direct transfer or fine-tuned; empty where there is only one."""
    ties: Ties | None = None
    """Equal scores, where more than a few tie with a match."""
    queries: QueryTable | None = field(default=None, compare=False, repr=False)
    """What each query found, in results just measured; kept in a file of its own."""

    @property
    def title(self) -> str:
        """The dataset, with its search where it has several."""
        return f"{self.name} {self.search}".strip()

    @property
    def is_averaged(self) -> bool:
        """Whether means over datasets hold this row: its dataset has one search and one kind of query."""
        return not self.search and not self.query

    @property
    def curve(self) -> str:
        """Name of the row's curves."""
        words = (self.title, self.direction, self.query)
        return "/".join(re.sub(r"\W+", "_", word).strip("_") for word in words if word)

    @property
    def tie_note(self) -> str:
        """What to beware of where equal scores decide; empty where they do not."""
        if self.ties is None:
            return ""
        words = (self.model, self.title, self.direction.replace("_", " "), self.query)
        expected = ", ".join(
            f"{MEASURES[name].title} {value:.2f}" for name, value in self.ties.expected.items()
        )
        return (
            f"{', '.join(word for word in words if word)}: {self.ties.share:.1f} % of a query's scores tie "
            "with one of its matches, and the order of the gallery decides; expected over all orders of "
            f"equal scores: {expected}"
        )

    def __post_init__(self) -> None:
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown:
            raise ValueError(f"{unknown[0]} is no measure; known: {', '.join(MEASURES)}")
        for name, value in self.measures.items():
            is_share = MEASURES[name].unit == "%"
            if not isfinite(value) or (is_share and not -1e-9 <= value <= 100 + 1e-9):
                raise ValueError(f"{name} is {value}; expected a number{' in [0, 100]' if is_share else ''}")
        if not (self.deviations.keys() | self.intervals.keys() <= self.measures.keys()):
            raise ValueError("deviations or intervals of what was not measured")
        if not all(isinstance(value, int) for value in self.facts.values()):
            raise ValueError(f"facts are counts, got {dict(self.facts)}")
        for measure, (low, high) in self.intervals.items():
            if not low <= high:
                raise ValueError(f"interval of {measure} runs from {low} down to {high}")


@dataclass(frozen=True)
class Results:
    """Rows of one evaluation, or of several merged; no two rows measure the same."""

    rows: tuple[Row, ...] = ()
    mark: str = ""
    """A sentence under the table, empty where there is nothing to beware of."""

    def __post_init__(self) -> None:
        keys = [(row.model, row.title, row.direction, row.query) for row in self.rows]
        if len(set(keys)) < len(keys):
            raise ValueError(f"two rows measure the same: {keys}")

    def name_model(self, model: str) -> "Results":
        """The same rows under the name of what was measured."""
        return replace(self, rows=tuple(replace(row, model=model) for row in self.rows))

    def merge(self, other: "Results") -> "Results":
        """Rows of both, the other's below; marks of both."""
        marks = list(dict.fromkeys(mark for mark in (self.mark, other.mark) if mark))
        return Results(self.rows + other.rows, "; ".join(marks))

    def list_means(self) -> list[Row]:
        """A mean row per model, protocol and direction that has more than one dataset."""
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in (row for row in self.rows if row.is_averaged):
            groups.setdefault((row.model, row.protocol, row.direction), []).append(row)
        return [average(rows) for rows in groups.values() if len(rows) > 1]

    def list_marks(self) -> list[str]:
        """What to beware of: the mark, the rows' notes, and scores that tie."""
        notes = dict.fromkeys(note for row in self.rows for note in row.notes)
        return [note for note in (self.mark, *notes, *(row.tie_note for row in self.rows)) if note]

    def list_deciding(self) -> list[Row]:
        """The row of each model and dataset that stands for all of them, in a direction that papers print.

        Of several kinds of query the last in the first search, which sees most.
        """
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.model, row.name), []).append(row)
        chosen = []
        for group in groups.values():
            rows = [row for row in group if row.is_main] or group
            first = (rows[0].title, rows[0].direction)
            chosen.append([row for row in rows if (row.title, row.direction) == first][-1])
        return chosen

    def list_queries(self) -> list[tuple[RowLabel, QueryTable]]:
        """The queries of the rows whose protocol hands them out."""
        return [
            (RowLabel(row.name, row.search, row.direction, row.query), row.queries)
            for row in self.rows
            if row.queries is not None
        ]

    def list_models(self) -> list[str]:
        """What was measured, in order of first appearance."""
        return list(dict.fromkeys(row.model for row in self.rows))

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and numbers; `from_json` reads them back."""
        rows = []
        for row in self.rows:
            entry = asdict(replace(row, queries=None))
            entry["dataset"] = entry.pop("name")
            rows.append({key: value for key, value in entry.items() if key == "is_main" or value})
        return {"rows": rows, "mark": self.mark}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Results":
        """The results that `to_json` described, or an older version did."""
        return cls(tuple(_read_row(dict(entry)) for entry in tree["rows"]), tree.get("mark", ""))


def _read_row(entry: dict[str, Any]) -> Row:
    if "set" in entry:
        entry = read_older_row(entry)
    name, ties = entry.pop("dataset"), entry.pop("ties", None)
    entry["notes"] = tuple(entry.get("notes", ()))
    entry["intervals"] = {key: (low, high) for key, (low, high) in entry.get("intervals", {}).items()}
    return Row(name=name, ties=Ties(**ties) if ties else None, **entry)


def average(rows: Sequence[Row]) -> Row:
    """The mean row over datasets: each counts alike. It has intervals where all of its rows have."""
    shared = [name for name in rows[0].measures if all(name in row.measures for row in rows)]
    facts = ("queries", "unmatched")
    return Row(
        name=MEAN,
        protocol=rows[0].protocol,
        direction=rows[0].direction,
        is_main=rows[0].is_main,
        measures={name: sum(row.measures[name] for row in rows) / len(rows) for name in shared},
        facts={name: sum(row.facts.get(name, 0) for row in rows) for name in facts},
        intervals=average_intervals(rows),
        model=rows[0].model,
    )


def average_intervals(rows: Sequence[Row]) -> Mapping[str, Interval]:
    """The 95 % interval of each mean over datasets, whose people are not the same; none where a row has none.

    Source: Zou and Donner, Statistics in Medicine 2008: the distances from the values to their own limits add
    up as squares, each side for itself, so that lopsided intervals stay lopsided.
    """
    if not all(row.intervals for row in rows):
        return {}
    means = {}
    for name in rows[0].intervals:
        values, limits = [row.measures[name] for row in rows], [row.intervals[name] for row in rows]
        low = hypot(*(value - own[0] for value, own in zip(values, limits, strict=True)))
        high = hypot(*(own[1] - value for value, own in zip(values, limits, strict=True)))
        middle = sum(values) / len(rows)
        means[name] = (middle - low / len(rows), middle + high / len(rows))
    return means
