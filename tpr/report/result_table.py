"""The text table of one evaluation."""

from collections.abc import Sequence

from prettytable import PrettyTable

from tpr.config.measures import MEASURES, order_measures
from tpr.evaluation.rows import MEAN, Results, Row

ABSENT = "-"
"""Stands for what was not measured."""
SPREAD = " ± "
"""Stands between a mean and its deviation."""


def draw_table(results: Results, title: str = "") -> str:
    """Text table in percent with two decimals; each model's rows end with their mean, notes stand below."""
    table = build_table(results)
    if title:
        table.title = title
    trials = {row.facts.get("trials", 0) for row in results.rows if row.deviations}
    notes = [f"mean ± sample deviation over {number} drawn galleries" for number in sorted(trials)]
    return "\n".join([str(table.get_string()), *(f"({note})" for note in (*notes, *results.list_marks()))])


def build_table(results: Results) -> PrettyTable:
    """Columns: dataset, [model], [direction], [query], measures; optional ones where they tell rows apart."""
    means = results.list_means()
    models, directions = results.list_models(), {row.direction for row in results.rows}
    has_queries = any(row.query for row in results.rows)
    measures = order_measures({name for row in results.rows for name in row.measures})
    optional = {"model": any(models), "direction": len(directions) > 1, "query": has_queries}
    titles = ["dataset", *(title for title, is_shown in optional.items() if is_shown)]
    table = PrettyTable([*titles, *(MEASURES[name].title for name in measures)])
    table.align = "r"
    for title in titles:
        table.align[title] = "l"
    for position, model in enumerate(models):
        rows = [row for row in results.rows if row.model == model]
        rows += [row for row in means if row.model == model]
        for row in rows:
            direction = row.direction.replace("_", " ")
            shown = {"dataset": row.title, "model": row.model, "direction": direction, "query": row.query}
            cells = [shown[title] for title in titles] + format_measures(row, measures)
            # Rules stand above the mean rows and between models.
            following = rows[rows.index(row) + 1 : rows.index(row) + 2]
            is_last_set = row.name != MEAN and bool(following) and following[0].name == MEAN
            table.add_row(cells, divider=is_last_set or (not following and position + 1 < len(models)))
    return table


def format_measures(row: Row, measures: Sequence[str]) -> list[str]:
    """Percent with two decimals, with the interval or the deviation behind where there is one."""
    cells = []
    for name in measures:
        text = f"{row.measures[name]:.2f}" if name in row.measures else ABSENT
        if name in row.intervals:
            low, high = row.intervals[name]
            text += f" [{low:.1f}, {high:.1f}]"
        if name in row.deviations:
            text += f"{SPREAD}{row.deviations[name]:.2f}"
        cells.append(text)
    return cells
