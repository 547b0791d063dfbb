"""What an evaluation found: a row per set and direction, their mean, and the table to print.

A row of a visible-infrared set also says who searched (its `Probe`); the note on where its texts came from
follows from that, so that no number can lose it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from math import hypot
from typing import Any, Literal

from prettytable import PrettyTable

from tpr.config.visible_infrared import CrossDirection, Query
from tpr.evaluation.intervals import Interval
from tpr.evaluation.metrics import MEASURES, Metrics
from tpr.evaluation.tie_note import Ties
from tpr.evaluation.visible_infrared import CROSS_MEASURES

Direction = Literal["text_to_image", "image_to_text"] | CrossDirection
MAIN_DIRECTIONS = ("text_to_image", "infrared_to_visible")
"""What papers print."""
TITLES = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "r20": "R@20", "map": "mAP", "minp": "mINP"}
MEAN = "mean"
"""Name of the row that averages over sets."""
ABSENT = "-"
"""Stands for what was not measured."""
SPREAD = " ± "
"""Stands between a mean and its deviation."""
SELECTED_ON_TEST = "the best epoch was selected on the test sets, as published"
"""Mark of a table whose numbers are optimistic."""
TEXT_NOTES = {
    "own": "own text: every infrared image has its own caption, made from that image alone",
    "oracle": "ORACLE text: every infrared image has a caption of the true person's visible images, of "
    "galleries too, as published; not to be compared with numbers of images alone",
}
"""Where the texts of visible-infrared sets came from; stands under every table with such a row."""


@dataclass(frozen=True)
class Probe:
    """Who searched in a row of a visible-infrared set."""

    query: Query
    """What stands for an infrared image."""
    search: str = ""
    """Which of the set's searches; empty where it has one."""
    text: Literal["own", "oracle"] | None = None
    """Where its texts came from; None where images search alone."""
    trials: int = 1
    """Galleries that the metrics are the mean over."""
    deviations: Mapping[str, float] | None = None
    """Sample deviation over the trials of each measure, where there are several."""

    def __post_init__(self) -> None:
        if (self.text is None) != (self.query == "infrared"):
            raise ValueError(f"a query of kind {self.query} with {self.text} text")

    @property
    def title(self) -> str:
        """The kind of query, with an oracle text named."""
        return f"{self.query} (ORACLE)" if self.text == "oracle" else self.query


@dataclass(frozen=True)
class Row:
    """One set in one direction."""

    name: str
    """Dataset."""
    direction: Direction
    metrics: Metrics
    intervals: Mapping[str, Interval] | None = None
    """95 % interval of each measure, where asked for."""
    model: str = ""
    """What was measured, such as direct transfer or fine-tuned; empty where there is only one."""
    probe: Probe | None = None
    """Who searched, on a visible-infrared set."""
    ties: Ties | None = None
    """Equal scores, where more than a few tie with a match."""

    @property
    def title(self) -> str:
        """The set, with its search where it has several."""
        return f"{self.name} {self.probe.search}" if self.probe and self.probe.search else self.name

    @property
    def is_main(self) -> bool:
        """Whether papers print this direction."""
        return self.direction in MAIN_DIRECTIONS

    @property
    def query(self) -> str:
        """The kind of query on a visible-infrared set, else empty."""
        return self.probe.title if self.probe else ""

    @property
    def curve(self) -> str:
        """Name of the row's curves."""
        if self.probe is None:
            return f"{self.name}/{self.direction}"
        text = [self.probe.text] if self.probe.text else []
        return f"{self.title.replace(' ', '_')}/{self.direction}/{'_'.join([self.probe.query, *text])}"

    @property
    def tie_note(self) -> str:
        """What to beware of where equal scores decide; empty where they do not."""
        if self.ties is None:
            return ""
        words = (self.model, self.title, self.direction.replace("_", " "), self.query)
        expected = ", ".join(f"{TITLES[name]} {value:.2f}" for name, value in self.ties.expected.items())
        return (
            f"{', '.join(word for word in words if word)}: {self.ties.share:.1f} % of a query's scores tie "
            "with one of its matches, and the order of the gallery decides; expected over all orders of "
            f"equal scores: {expected}"
        )

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
        """A mean row per model and direction that has more than one set of captions."""
        groups: dict[tuple[str, Direction], list[Row]] = {}
        for row in (row for row in self.rows if row.probe is None):
            groups.setdefault((row.model, row.direction), []).append(row)
        return [average(rows) for rows in groups.values() if len(rows) > 1]

    def list_marks(self) -> list[str]:
        """What to beware of: the mark, where texts came from, and scores that tie."""
        texts = [row.probe.text for row in self.rows if row.probe and row.probe.text]
        notes = [self.mark, *(TEXT_NOTES[text] for text in dict.fromkeys(texts))]
        return [note for note in (*notes, *(row.tie_note for row in self.rows)) if note]

    def list_deciding(self) -> list[Row]:
        """The rows that stand for all of them: text to image of every set of captions, where there is any.

        Of a visible-infrared set the last kind of query in its first search, which sees most.
        """
        plain = [row for row in self.rows if row.probe is None]
        chosen = [row for row in plain if row.direction == "text_to_image"] or plain
        crossed = [row for row in self.rows if row.probe is not None]
        for _, group in groupby(crossed, key=lambda row: (row.model, row.name)):
            rows = list(group)
            first = (rows[0].title, rows[0].direction)
            chosen.append([row for row in rows if (row.title, row.direction) == first][-1])
        return chosen

    def list_models(self) -> list[str]:
        """What was measured, in order of first appearance."""
        return list(dict.fromkeys(row.model for row in self.rows))

    def to_table(self, title: str = "") -> str:
        """Text table in percent with two decimals; each model's rows end with their mean."""
        table = build_table(self)
        if title:
            table.title = title
        trials = {row.probe.trials for row in self.rows if row.probe and row.probe.deviations}
        notes = [f"mean ± sample deviation over {number} drawn galleries" for number in sorted(trials)]
        return "\n".join([str(table.get_string()), *(f"({note})" for note in (*notes, *self.list_marks()))])

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and numbers; `from_json` reads them back."""
        rows = [
            {
                "set": row.name,
                "direction": row.direction,
                **({"model": row.model} if row.model else {}),
                **{name: value for name, value in asdict(row.metrics).items() if value is not None},
                **({"probe": asdict(row.probe)} if row.probe else {}),
                **({"intervals": {k: list(v) for k, v in row.intervals.items()}} if row.intervals else {}),
                **({"ties": asdict(row.ties)} if row.ties else {}),
            }
            for row in self.rows
        ]
        return {"rows": rows, "mark": self.mark}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Results":
        """The results that `to_json` described."""
        rows = []
        for entry in tree["rows"]:
            values = {name: entry[name] for name in (*MEASURES, "queries", "unmatched")}
            metrics = Metrics(**values, r20=entry.get("r20"))
            intervals = {name: (low, high) for name, (low, high) in entry.get("intervals", {}).items()}
            probe = Probe(**entry["probe"]) if "probe" in entry else None
            ties = Ties(**entry["ties"]) if "ties" in entry else None
            model = entry.get("model", "")
            row = Row(entry["set"], entry["direction"], metrics, intervals or None, model, probe, ties)
            rows.append(row)
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
    """Columns: set, [model], [direction], [query], the measures; optional ones where they tell rows apart."""
    means = results.list_means()
    models, directions = results.list_models(), {row.direction for row in results.rows}
    is_crossed = any(row.probe for row in results.rows)
    measures = CROSS_MEASURES if is_crossed else MEASURES
    optional = {"model": any(models), "direction": len(directions) > 1, "query": is_crossed}
    titles = ["set", *(title for title, is_shown in optional.items() if is_shown)]
    table = PrettyTable([*titles, *(TITLES[name] for name in measures)])
    table.align = "r"
    for title in titles:
        table.align[title] = "l"
    for position, model in enumerate(models):
        rows = [row for row in results.rows if row.model == model]
        rows += [row for row in means if row.model == model]
        for row in rows:
            direction = row.direction.replace("_", " ")
            shown = {"set": row.title, "model": row.model, "direction": direction, "query": row.query}
            cells = [shown[title] for title in titles] + format_measures(row, measures)
            # Rules stand above the mean rows and between models.
            following = rows[rows.index(row) + 1 : rows.index(row) + 2]
            is_last_set = row.name != MEAN and bool(following) and following[0].name == MEAN
            table.add_row(cells, divider=is_last_set or (not following and position + 1 < len(models)))
    return table


def format_measures(row: Row, measures: Sequence[str] = MEASURES) -> list[str]:
    """Percent with two decimals, with the interval or the deviation behind where there is one."""
    cells = []
    for name in measures:
        value = getattr(row.metrics, name)
        text = ABSENT if value is None else f"{value:.2f}"
        if row.intervals and name in row.intervals:
            low, high = row.intervals[name]
            text += f" [{low:.1f}, {high:.1f}]"
        if row.probe and row.probe.deviations:
            text += f"{SPREAD}{row.probe.deviations[name]:.2f}"
        cells.append(text)
    return cells
