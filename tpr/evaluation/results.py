"""What an evaluation found: a row per set and direction, their mean, and the table to print."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import hypot
from typing import Any, Literal

from prettytable import PrettyTable

from tpr.evaluation.intervals import Interval
from tpr.evaluation.metrics import MEASURES, Metrics

Direction = Literal["text_to_image", "image_to_text"]
MEASURE_TITLES = ("R@1", "R@5", "R@10", "mAP", "mINP")
MEAN = "mean"
"""Name of the row that averages over sets."""
SELECTED_ON_TEST = "the best epoch was selected on the test sets, as published"
"""Mark of a table whose numbers are optimistic."""


@dataclass(frozen=True)
class Row:
    """One set in one direction."""

    name: str
    """Data set."""
    direction: Direction
    metrics: Metrics
    intervals: Mapping[str, Interval] | None = None
    """95 % interval of each measure, where asked for."""
    model: str = ""
    """What was measured, such as direct transfer or fine-tuned; empty where there is only one."""

    def __post_init__(self) -> None:
        for measure, (low, high) in (self.intervals or {}).items():
            if not low <= high:
                raise ValueError(f"interval of {measure} runs from {low} down to {high}")


@dataclass(frozen=True)
class Results:
    """Rows of one evaluation, or of several merged; no two rows measure the same."""

    rows: tuple[Row, ...] = field(default_factory=tuple)
    mark: str = ""
    """A sentence under the table, empty where there is nothing to beware of."""

    def __post_init__(self) -> None:
        keys = [(row.model, row.name, row.direction) for row in self.rows]
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
        """A mean row per model and direction that has more than one set."""
        groups: dict[tuple[str, Direction], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.model, row.direction), []).append(row)
        return [average(rows) for rows in groups.values() if len(rows) > 1]

    def list_models(self) -> list[str]:
        """What was measured, in order of first appearance."""
        return list(dict.fromkeys(row.model for row in self.rows))

    def to_table(self, title: str = "") -> str:
        """Text table in percent with two decimals; each model's rows end with their mean."""
        table = build_table(self)
        if title:
            table.title = title
        text = str(table.get_string())
        return f"{text}\n({self.mark})" if self.mark else text

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and numbers; `from_json` reads them back."""
        rows = [
            {
                "set": row.name,
                "direction": row.direction,
                **({"model": row.model} if row.model else {}),
                **asdict(row.metrics),
                **({"intervals": {k: list(v) for k, v in row.intervals.items()}} if row.intervals else {}),
            }
            for row in self.rows
        ]
        return {"rows": rows, "mark": self.mark}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Results":
        """The results that `to_json` described."""
        rows = []
        for entry in tree["rows"]:
            metrics = Metrics(**{name: entry[name] for name in (*MEASURES, "queries", "unmatched")})
            intervals = {name: (low, high) for name, (low, high) in entry.get("intervals", {}).items()}
            rows.append(
                Row(entry["set"], entry["direction"], metrics, intervals or None, entry.get("model", ""))
            )
        return cls(tuple(rows), tree.get("mark", ""))


def average(rows: Sequence[Row]) -> Row:
    """The mean row over sets: each set counts alike. It has intervals where all of its rows have."""
    values = {name: sum(getattr(row.metrics, name) for row in rows) / len(rows) for name in MEASURES}
    metrics = Metrics(
        **values,
        queries=sum(row.metrics.queries for row in rows),
        unmatched=sum(row.metrics.unmatched for row in rows),
    )
    return Row(MEAN, rows[0].direction, metrics, average_intervals(rows), rows[0].model)


def average_intervals(rows: Sequence[Row]) -> Mapping[str, Interval] | None:
    """The 95 % interval of each mean over sets, whose people are not the same; None where a row has none.

    Source: Zou and Donner, Statistics in Medicine 2008: the distances from the values to their own limits add
    up as squares, each side for itself, so that lopsided intervals stay lopsided.
    """
    found = [(row, row.intervals) for row in rows if row.intervals]
    if len(found) < len(rows):
        return None
    means = {}
    for name in MEASURES:
        values = [getattr(row.metrics, name) for row in rows]
        low = hypot(*(value - own[name][0] for value, (_, own) in zip(values, found, strict=True)))
        high = hypot(*(own[name][1] - value for value, (_, own) in zip(values, found, strict=True)))
        middle = sum(values) / len(rows)
        means[name] = (middle - low / len(rows), middle + high / len(rows))
    return means


def build_table(results: Results) -> PrettyTable:
    """Columns: set, [model], [direction], five measures; optional ones where they differ between rows."""
    means = results.list_means()
    models, directions = results.list_models(), {row.direction for row in results.rows}
    titles = ["set", *(["model"] if any(models) else []), *(["direction"] if len(directions) > 1 else [])]
    table = PrettyTable([*titles, *MEASURE_TITLES])
    table.align = "r"
    for title in titles:
        table.align[title] = "l"
    for position, model in enumerate(models):
        rows = [row for row in results.rows if row.model == model]
        rows += [row for row in means if row.model == model]
        for row in rows:
            shown = {"set": row.name, "model": row.model, "direction": row.direction.replace("_", " ")}
            cells = [shown[title] for title in titles] + format_measures(row)
            # Rules stand above the mean rows and between models.
            following = rows[rows.index(row) + 1 : rows.index(row) + 2]
            is_last_set = row.name != MEAN and bool(following) and following[0].name == MEAN
            table.add_row(cells, divider=is_last_set or (not following and position + 1 < len(models)))
    return table


def format_measures(row: Row) -> list[str]:
    """Percent with two decimals, with the interval behind where there is one."""
    cells = []
    for name in MEASURES:
        text = f"{getattr(row.metrics, name):.2f}"
        if row.intervals:
            low, high = row.intervals[name]
            text += f" [{low:.1f}, {high:.1f}]"
        cells.append(text)
    return cells
