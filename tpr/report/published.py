"""What a paper prints for a recipe, and how far off a run of it is."""

from collections.abc import Sequence
from statistics import fmean

from prettytable import PrettyTable

from tpr.config.measures import MEASURES
from tpr.config.published import PublishedOptions
from tpr.evaluation.rows import Results, Row
from tpr.report.result_table import ABSENT
from tpr.report.tables import format_markdown


def tabulate_published(
    published: Sequence[PublishedOptions], results: Sequence[Results], *, markdown: bool = False
) -> str:
    """Each published row, below it what was found minus what is published, and at the end the sources.

    published: at least one row. results: one run's, or those of several runs, whose mean counts.
    """
    names = [name for name in MEASURES if any(name in record.measures for record in published)]
    heads = ["published", *(["query"] if any(record.query for record in published) else [])]
    lines = []
    for number, record in enumerate(published, start=1):
        rows = [row for found in results if (row := find_row(record, found)) is not None]
        cells = [show(record.measures.get(name)) for name in names]
        lines.append([*[f"{record.dataset} [{number}]", record.query][: len(heads)], *cells])
        cells = [show(subtract(rows, record, name), sign="+") for name in names]
        lines.append([*["found - published", ""][: len(heads)], *cells])
    titles = [MEASURES[name].title for name in names]
    table = format_markdown(heads, titles, lines) if markdown else format_pairs(heads, titles, lines)
    sources = [
        f"[{number}] {'; '.join(filter(None, (record.source, record.selection)))}"
        for number, record in enumerate(published, start=1)
    ]
    return "\n".join([table, *([""] if markdown else []), *sources])


def format_pairs(heads: Sequence[str], titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A text table with a rule below every second line."""
    table = PrettyTable([*heads, *titles])
    table.align = "r"
    for head in heads:
        table.align[head] = "l"
    for number, line in enumerate(lines, start=1):
        table.add_row(line, divider=number % 2 == 0 and number < len(lines))
    return str(table.get_string())


def find_row(record: PublishedOptions, results: Results) -> Row | None:
    """The row that a published one belongs to: the last measured model's, in the direction of papers."""
    rows = [row for row in results.rows if row.title == record.dataset and row.is_main]
    rows = [row for row in rows if record.query in ("", row.query)]
    return rows[-1] if rows else None


def subtract(rows: Sequence[Row], record: PublishedOptions, name: str) -> float | None:
    """Mean of what was found minus what is published; None where either is absent."""
    found = [value for row in rows if (value := row.measures.get(name)) is not None]
    return fmean(found) - record.measures[name] if found and name in record.measures else None


def show(value: float | None, sign: str = "") -> str:
    """Percent with two decimals."""
    return ABSENT if value is None else f"{value:{sign}.2f}"
