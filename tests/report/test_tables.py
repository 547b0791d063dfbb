from dataclasses import replace
from itertools import product
from typing import Literal

import pytest

from tests.report.run_folders import make_crossed_row, make_results
from tpr.evaluation.protocols.visible_infrared import TEXT_NOTES
from tpr.evaluation.rows import Results
from tpr.report.result_table import draw_table
from tpr.report.tables import compare_runs, format_seeds, join_before_and_after

RULES = "| :--- | ---: | ---: | ---: | ---: |"


def cells_of(table: str, name: str) -> list[str]:
    """The cells of the first line of a table that begins with a name, text or Markdown."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return next(line for line in lines if line[0] == name)[1:]


def test_direct_transfer_stands_beside_fine_tuned() -> None:
    joined = join_before_and_after(make_results(a=10, b=20), make_results(a=50, b=30))
    table = draw_table(joined).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table if line.startswith("| ")]
    assert rows == [
        ["dataset", "model", "R@1"],
        ["a", "direct transfer", "10.00"],
        ["b", "direct transfer", "20.00"],
        ["mean", "direct transfer", "15.00"],
        ["a", "fine-tuned", "50.00"],
        ["b", "fine-tuned", "30.00"],
        ["mean", "fine-tuned", "40.00"],
    ]
    assert sum(line.startswith("+") for line in table) == 6


def test_runs_side_by_side_as_in_the_papers() -> None:
    runs = {
        "one": [make_results(a=10, b=20)],
        "two": [join_before_and_after(make_results(b=1), make_results(b=2))],
        "three": [],
    }
    assert compare_runs(runs, markdown=True).splitlines() == [
        "| run | model | a R@1 | a R@5 | a R@10 | a mAP | b R@1 | b R@5 | b R@10 | b mAP "
        "| mean R@1 | mean R@5 | mean R@10 | mean mAP |",
        "| :--- | :--- |" + 12 * " ---: |",
        "| one |  | 10.00 | 11.00 | 12.00 | 5.00 | 20.00 | 21.00 | 22.00 | 10.00 "
        "| 15.00 | 16.00 | 17.00 | 7.50 |",
        "| two | direct transfer | - | - | - | - | 1.00 | 2.00 | 3.00 | 0.50 | - | - | - | - |",
        "| two | fine-tuned | - | - | - | - | 2.00 | 3.00 | 4.00 | 1.00 | - | - | - | - |",
        "| three |  |" + 12 * " - |",
    ]


TABLE = """
+-----+--------+--------+--------+--------+-------+-------+-------+-------+-------+-------+-------+------+
|     |                 a                 |               b               |             mean             |
| run |    R@1 |    R@5 |   R@10 |    mAP |   R@1 |   R@5 |  R@10 |   mAP |   R@1 |   R@5 |  R@10 |  mAP |
+-----+--------+--------+--------+--------+-------+-------+-------+-------+-------+-------+-------+------+
| one |  10.00 |  11.00 |  12.00 |   5.00 | 20.00 | 21.00 | 22.00 | 10.00 | 15.00 | 16.00 | 17.00 | 7.50 |
| two |   8.50 |   9.50 |  10.50 |   4.25 |     - |     - |     - |     - |     - |     - |     - |    - |
|     | ± 0.71 | ± 0.71 | ± 0.71 | ± 0.35 |       |       |       |       |       |       |       |      |
+-----+--------+--------+--------+--------+-------+-------+-------+-------+-------+-------+-------+------+"""


def test_a_text_table_names_each_set_once_above_its_columns() -> None:
    runs = {"one": [make_results(a=10, b=20)], "two": [make_results(a=8), make_results(a=9)]}
    # 8 and 9: mean 8.5, sample deviation sqrt(0.5) = 0.71, which stands below.
    assert compare_runs(runs) == TABLE.strip()


def test_seeds_are_their_mean_and_the_deviation_of_a_sample() -> None:
    runs = {"x (3 seeds)": [make_results(a=value, b=20) for value in (10, 12, 17)]}
    cells = cells_of(compare_runs(runs, markdown=True), "x (3 seeds)")
    # Mean 13; sqrt((9 + 1 + 16) / 2) = 3.61, where a division by n would give 2.94.
    assert cells[:5] == ["13.00 ± 3.61", "14.00 ± 3.61", "15.00 ± 3.61", "6.50 ± 1.80", "20.00 ± 0.00"]
    # Means over sets per seed: 15, 16, 18.5, so 16.5 and sqrt((2.25 + 0.25 + 4) / 2) = 1.80.
    assert cells[8] == "16.50 ± 1.80"
    assert (format_seeds([]), format_seeds([3.14159]), format_seeds([1, 2])) == ("-", "3.14", "1.50 ± 0.71")


def test_a_set_that_one_seed_lacks_is_no_mean_over_all() -> None:
    runs = {"x (2 seeds)": [make_results(a=10, b=20), make_results(a=12)]}
    cells = cells_of(compare_runs(runs, markdown=True), "x (2 seeds)")
    assert cells[0] == "11.00 ± 1.41"
    assert cells[4:] == 8 * ["-"]


def test_a_single_set_has_no_mean_column() -> None:
    assert compare_runs({"one": [make_results(a=10)]}, markdown=True).splitlines() == [
        "| run | a R@1 | a R@5 | a R@10 | a mAP |",
        RULES,
        "| one | 10.00 | 11.00 | 12.00 | 5.00 |",
    ]


def test_dashes_where_nothing_is_measured_yet_and_notes_below() -> None:
    text = compare_runs({"one": []}, notes=["one: not finished"])
    assert cells_of(text, "one") == 4 * ["-"]
    assert "test sets" in text.splitlines()[1]
    assert text.endswith("+\n(one: not finished)")
    assert compare_runs({"one": []}, notes=["one: odd"], markdown=True).endswith(" |\n\none: odd.")


@pytest.mark.parametrize("length", range(1, 60, 7))
def test_a_long_name_of_a_set_stays_whole_and_the_table_straight(length: int) -> None:
    name = "n" * length
    lines = compare_runs({"one": [make_results(**{name: 10, "b": 20})]}).splitlines()
    assert lines[1].split("|")[2].strip() == name
    assert {len(line) for line in lines} == {len(lines[0])}
    assert [place for place, letter in enumerate(lines[1]) if letter == "|"] == [
        place for number, place in enumerate(find_edges(lines[0])) if number == 0 or number % 4 == 1
    ]


def find_edges(rule: str) -> list[int]:
    return [place for place, letter in enumerate(rule) if letter == "+"]


def test_a_mark_names_the_runs_it_holds_for_unless_it_holds_for_all() -> None:
    marked, plain = make_results("beware", a=1), make_results(a=2)
    some = compare_runs({"one": [marked], "two": [plain], "three": [marked, marked], "four": []})
    assert some.splitlines()[-1] == "(one, three: beware)"
    assert compare_runs({"one": [marked], "two": []}).splitlines()[-1] == "(beware)"
    assert "beware" not in compare_runs({"two": [plain]})


def test_another_direction_is_named_and_the_papers_direction_preferred() -> None:
    across = make_results(direction="image_to_text", a=7)
    text = compare_runs({"one": [across], "two": [make_results(a=1)]}, markdown=True)
    assert cells_of(text, "one")[0] == "7.00"
    assert text.endswith("\n\none: from image to text, no other direction was measured.")
    both = compare_runs({"one": [make_results(a=3).merge(across)]}, markdown=True)
    assert cells_of(both, "one")[0] == "3.00"
    assert "direction" not in both


def test_a_name_with_a_bar_keeps_the_columns_of_markdown() -> None:
    assert "| a\\|b | 1.00 |" in compare_runs({"a|b": [make_results(a=1)]}, markdown=True)


def make_crossed(scale: float, text: Literal["own", "oracle"]) -> Results:
    """Two searches by two kinds of query, and a direction that papers do not print."""
    rows = []
    fused = "fused (ORACLE)" if text == "oracle" else "fused"
    for place, (query, search) in enumerate(product(("infrared", fused), ("all", "indoor")), 1):
        notes = () if query == "infrared" else (TEXT_NOTES[text],)
        row = make_crossed_row("sysu_mm01", scale * place, search=search, query=query, notes=notes)
        rows.append(row)
    return Results((*rows, replace(rows[0], direction="visible_to_infrared", is_main=False)))


def test_kinds_of_query_are_lines_and_searches_are_columns_without_a_mean() -> None:
    text = compare_runs(
        {"one": [make_crossed(10, "own")], "two": [make_crossed(20, "oracle")]}, markdown=True
    )
    lines = text.splitlines()
    assert lines[0].startswith("| run | query | sysu_mm01 all R@1 | sysu_mm01 all R@5 |")
    assert "mean" not in lines[0] and "visible to infrared" not in text
    assert [line.split(" | ")[:3] for line in lines[2:6]] == [
        ["| one", "infrared", "10.00"],
        ["| one", "fused", "30.00"],
        ["| two", "infrared", "20.00"],
        ["| two", "fused (ORACLE)", "60.00"],
    ]
    assert lines[7:] == [f"one: {TEXT_NOTES['own']}.", "", f"two: {TEXT_NOTES['oracle']}."]
    assert "| run | query    |" in compare_runs({"one": [make_crossed(10, "own")]})


def test_sets_of_captions_beside_have_their_mean() -> None:
    mixed = make_results(a=10, b=20).merge(make_crossed(10, "own"))
    lines = compare_runs({"one": [mixed]}, markdown=True).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:5]]
    shown = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    picked = [[row[name] for name in ("query", "a R@1", "mean R@1", "sysu_mm01 indoor R@1")] for row in shown]
    assert picked == [
        ["", "10.00", "15.00", "-"],
        ["infrared", "-", "-", "20.00"],
        ["fused", "-", "-", "40.00"],
    ]


def test_a_rare_direction_alone_is_named() -> None:
    rare = Results(make_crossed(10, "own").rows[-1:])
    lines = compare_runs({"one": [rare]}, markdown=True).splitlines()
    assert "| sysu_mm01 all, visible to infrared R@1 |" in lines[0]
