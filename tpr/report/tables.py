"""Tables over several results: direct transfer next to fine-tuned, and runs side by side as in the papers."""

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import fmean, stdev

from prettytable import PrettyTable

from tpr.config.measures import MEASURES
from tpr.evaluation.rows import MEAN, Results, Row, average
from tpr.report.result_table import ABSENT, SPREAD

DIRECT = "direct transfer"
FINETUNED = "fine-tuned"
SHOWN = ("r1", "r5", "r10", "map")
SHOWN_TITLES = tuple(MEASURES[name].title for name in SHOWN)
"""R@1, R@5, R@10 and mAP: what the papers print per dataset."""


def join_before_and_after(before: Results, after: Results) -> Results:
    """Rows of a model before training on a dataset next to those after: direct transfer, then fine-tuned."""
    return before.name_model(DIRECT).merge(after.name_model(FINETUNED))


def compare_runs(
    runs: Mapping[str, Sequence[Results]], *, notes: Sequence[str] = (), markdown: bool = False
) -> str:
    """As in the papers: a row per label (and model, and kind of query), a group of columns per dataset.

    runs: label -> results of the same run under several seeds, shown as mean ± sample deviation; of one
    run; or of none yet, shown as dashes. Behind the datasets stands their mean, for runs that measured all of
    them. A dash is what was not measured. `notes` and the marks of the results stand below.
    """
    rows = [row for found in runs.values() for results in found for row in choose_rows(results)]
    sets = list(dict.fromkeys(name_group(row) for row in rows))
    averaged = list(dict.fromkeys(row.name for row in rows if row.is_averaged))
    groups = [*(sets or ["test sets"]), *([MEAN] if len(averaged) > 1 else [])]
    optional = {"model": any(row.model for row in rows), "query": any(row.query for row in rows)}
    names = ["run", *(name for name, is_shown in optional.items() if is_shown)]
    lines = []
    for label, found in runs.items():
        for own in dict.fromkeys(map(name_line, chain(*map(choose_rows, found)))) or [("", "")]:
            heads = dict(zip(("run", "model", "query"), (label, *own), strict=True))
            cells = [cell for group in groups for cell in format_group(found, own, group, averaged)]
            lines.append([*(heads[name] for name in names), *cells])
    below = [*list_marks(runs), *notes]
    if markdown:
        titles = [f"{group} {title}" for group in groups for title in SHOWN_TITLES]
        return "\n\n".join([format_markdown(names, titles, lines), *(f"{note}." for note in below)])
    return "\n".join([format_text(names, groups, lines), *(f"({note})" for note in below)])


def name_group(row: Row) -> str:
    """The group of columns that a row stands in: its dataset, with its search and a rare direction."""
    is_rare = not row.is_averaged and not row.is_main
    return f"{row.title}, {row.direction.replace('_', ' ')}" if is_rare else row.title


def name_line(row: Row) -> tuple[str, str]:
    """The line of a run that a row stands in: its model and its kind of query."""
    return row.model, row.query


def format_group(
    found: Sequence[Results], line: tuple[str, str], group: str, averaged: Sequence[str]
) -> list[str]:
    """The cells of a line on one dataset, or of its mean; dashes unless all of its runs measured it."""
    measured = [find_measures(results, line, group, averaged) for results in found]
    if not all(measured):
        return [ABSENT] * len(SHOWN)
    return [
        format_seeds([values[name] for values in measured if values])
        if all(values and name in values for values in measured)
        else ABSENT
        for name in SHOWN
    ]


def find_measures(
    results: Results, line: tuple[str, str], group: str, averaged: Sequence[str]
) -> Mapping[str, float] | None:
    """The measures of a line on one dataset, or their mean if it measured all; None where there are none."""
    rows = {name_group(row): row for row in choose_rows(results) if name_line(row) == line}
    if group in rows:
        return rows[group].measures
    is_whole = group == MEAN and rows.keys() == set(averaged)
    return average(list(rows.values())).measures if is_whole else None


def format_seeds(values: Sequence[float]) -> str:
    """One number, mean ± sample deviation (over n - 1) of several, a dash for none; two decimals."""
    if len(values) > 1:
        return f"{fmean(values):.2f}{SPREAD}{stdev(values):.2f}"
    return f"{values[0]:.2f}" if values else ABSENT


def list_marks(runs: Mapping[str, Sequence[Results]]) -> list[str]:
    """What to beware of, with the labels that it concerns unless it concerns all."""
    holders: dict[str, list[str]] = {}
    for label, found in runs.items():
        for text in dict.fromkeys(mark for results in found for mark in list_own_marks(results)):
            holders.setdefault(text, []).append(label.strip())
    with_numbers = sum(bool(found) for found in runs.values())
    return [
        text if len(labels) == with_numbers else f"{', '.join(labels)}: {text}"
        for text, labels in holders.items()
    ]


def list_own_marks(results: Results) -> list[str]:
    """The marks of one run, and a word where its numbers are not from text to image."""
    marks = results.list_marks()
    if any(row.direction == "image_to_text" for row in choose_rows(results)):
        marks.append("from image to text, no other direction was measured")
    return marks


def format_text(names: Sequence[str], groups: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A text table whose groups of columns have a title above theirs.

    A deviation stands below its mean: next to it, three datasets and their mean would be 270 letters wide.
    """
    width = max(-(-(len(group) - 3 * (len(SHOWN) - 1)) // len(SHOWN)) for group in groups)
    titles = [title.rjust(width) for title in SHOWN_TITLES]
    numbers = [str(number) for number in range(len(names) + len(groups) * len(titles))]
    table = PrettyTable(numbers, header=False)
    table.align = "r"
    for number in numbers[: len(names)]:
        table.align[number] = "l"
    table.add_row([*names, *(titles * len(groups))], divider=True)
    table.add_rows([[cell.replace(SPREAD, f"\n{SPREAD.lstrip()}") for cell in line] for line in lines])
    rule, _, rest = str(table.get_string()).partition("\n")
    edges = [place for place, letter in enumerate(rule) if letter == "+"]
    edges = [*edges[: len(names)], *edges[len(names) :: len(titles)]]
    spans = [end - start - 1 for start, end in zip(edges, edges[1:], strict=False)]
    above = zip([""] * len(names) + list(groups), spans, strict=True)
    line = "|".join(title.center(span) for title, span in above)
    return f"{rule}\n|{line}|\n{rest}"


def format_markdown(names: Sequence[str], titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown, the columns of `names` to the left, numbers to the right."""
    rules = [":---"] * len(names) + ["---:"] * len(titles)
    rows = [[*names, *titles], rules, *lines]
    safe = [[cell.strip().replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in safe)


def choose_rows(results: Results) -> list[Row]:
    """The rows of each dataset in the direction that papers print; all of its rows where there is none."""
    usual = {row.name for row in results.rows if row.is_main}
    return [row for row in results.rows if row.is_main or row.name not in usual]
