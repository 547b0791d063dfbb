"""Two runs on the same queries: how far apart they are, and how sure that is.

Both answer the same queries about the same people, so most of what makes a number uncertain is in both and
falls out of the difference: its interval is narrower than those of the two numbers lead one to think.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from prettytable import PrettyTable

from tpr.config.measures import MEASURES
from tpr.errors import DataError
from tpr.evaluation.intervals import Interval, draw_means
from tpr.evaluation.query_results import RETRIEVAL
from tpr.evaluation.query_table import QueryTable, RowLabel
from tpr.report.tables import SHOWN, format_markdown

SAMPLES = 2000
HEADS = ("dataset", "measure")
TITLES = ("A", "B", "B - A", "95 % interval", "B better")


class Difference(NamedTuple):
    """One measure of two runs, in percent."""

    before: float
    """A."""
    after: float
    """B."""
    interval: Interval
    """95 % percentile interval of B - A."""
    better: float
    """Share of samples in which B is above A."""


def compare_queries(
    before: QueryTable, after: QueryTable, *, samples: int = SAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Each measure of `SHOWN` by a paired bootstrap over identities: a sample draws people once for both.

    The tables must ask the same (`QueryTable.asks_as`). Queries of all trials stand side by side and those
    of one person are drawn together, so a drawn gallery is no sample of its own; means are over all of them,
    which are the means over trials wherever each has as many queries.
    """
    kept = [RETRIEVAL.index(name) for name in SHOWN]
    ours, theirs = (table.results.measures()[:, kept] for table in (before, after))
    identity = before.results.identity[before.results.first > 0]
    drawn = draw_means(identity, theirs - ours, samples=samples, seed=seed)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    better = 100 * (drawn > 0).mean(axis=0)
    return {
        name: Difference(
            float(ours[:, column].mean()),
            float(theirs[:, column].mean()),
            (float(low[column]), float(high[column])),
            float(better[column]),
        )
        for column, name in enumerate(SHOWN)
    }


def tabulate_differences(
    before: Mapping[RowLabel, QueryTable],
    after: Mapping[RowLabel, QueryTable],
    names: tuple[str, str],
    *,
    markdown: bool = False,
) -> str:
    """The table over all rows that both have, and which are left out. names: what A and B are.

    Raises DataError in one line where no row can be compared.
    """
    rows, left_out = [], []
    for label in dict.fromkeys([*before, *after]):
        if label not in before or label not in after:
            left_out.append(f"{label}: measured by {'A' if label in before else 'B'} alone")
        elif not before[label].asks_as(after[label]):
            left_out.append(f"{label}: A and B have other queries or galleries, which cannot be paired")
        else:
            rows.append((label, compare_queries(before[label], after[label])))
    if not rows:
        raise DataError(
            f"{names[0]} and {names[1]} have nothing to compare ({'; '.join(left_out)}); evaluate both "
            "on the same data with `tpr evaluate CHECKPOINT --queries FILE.parquet`"
        )
    notes = [
        f"A: {names[0]}; B: {names[1]}",
        f"paired bootstrap over identities, {SAMPLES:,} samples; better: share of them in which B is above A",
        *left_out,
    ]
    lines = [
        [str(label), MEASURES[name].title, *format_difference(found)]
        for label, differences in rows
        for name, found in differences.items()
    ]
    if markdown:
        return "\n\n".join([format_markdown(HEADS, TITLES, lines), *(f"{note}." for note in notes)])
    return "\n".join([draw_lines(lines), *(f"({note})" for note in notes)])


def format_difference(found: Difference) -> list[str]:
    """The cells of a difference; two decimals, and whole percent of samples."""
    low, high = found.interval
    return [
        f"{found.before:.2f}",
        f"{found.after:.2f}",
        f"{found.after - found.before:+.2f}",
        f"[{low:+.2f}, {high:+.2f}]",
        f"{found.better:.1f} %",
    ]


def draw_lines(lines: list[list[str]]) -> str:
    """The text table, a rule below each dataset's measures."""
    table = PrettyTable([*HEADS, *TITLES])
    table.align = "r"
    for head in HEADS:
        table.align[head] = "l"
    for number, line in enumerate(lines, start=1):
        table.add_row(line, divider=number % len(SHOWN) == 0 and number < len(lines))
    return str(table.get_string())
