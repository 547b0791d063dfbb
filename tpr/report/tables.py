"""Tables over several results: a closing table with a row per set and model, and one like the papers'."""

from collections.abc import Mapping

from prettytable import PrettyTable

from tpr.evaluation.metrics import MEASURES
from tpr.evaluation.results import MEASURE_TITLES, Results, Row, build_table

DIRECT = "direct transfer"
FINETUNED = "fine-tuned"


def join_before_and_after(before: Results, after: Results) -> Results:
    """Rows of a model before training on a set beside those after: direct transfer, then fine-tuned."""
    return before.name_model(DIRECT).merge(after.name_model(FINETUNED))


def to_markdown(results: Results) -> str:
    """The closing table as Markdown, percent with two decimals."""
    text = format_markdown(build_table(results))
    return f"{text}\n\n{results.mark[0].upper()}{results.mark[1:]}." if results.mark else text


def compare_runs(runs: Mapping[str, Results], *, markdown: bool = False) -> str:
    """As in the papers: a row per run (and model), a group of columns per set, text to image.

    Columns of a set are R@1, R@5, R@10 and mAP; a set that a run did not measure shows a dash.
    """
    sets = list(dict.fromkeys(row.name for results in runs.values() for row in choose_rows(results)))
    shown = MEASURES[:4]
    titles = [f"{name} {title}" for name in sets for title in MEASURE_TITLES[:4]]
    table = PrettyTable(["run", *titles])
    table.align = "r"
    table.align["run"] = "l"
    for label, results in runs.items():
        for model in results.list_models():
            found = {row.name: row for row in choose_rows(results) if row.model == model}
            cells = [
                f"{getattr(found[name].metrics, measure):.2f}" if name in found else "-"
                for name in sets
                for measure in shown
            ]
            table.add_row([f"{label} ({model})" if model else label, *cells])
    return format_markdown(table) if markdown else str(table.get_string())


def format_markdown(table: PrettyTable) -> str:
    """A table's rows as Markdown. Written out: prettytable renamed its own style between our versions."""
    rules = ["---:" if table.align[title] == "r" else ":---" for title in table.field_names]
    lines = [table.field_names, rules, *table.rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def choose_rows(results: Results) -> list[Row]:
    """Text to image rows, the direction that papers print; all rows where there is none."""
    chosen = [row for row in results.rows if row.direction == "text_to_image"]
    return chosen or list(results.rows)
