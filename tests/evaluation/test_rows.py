import json
from dataclasses import replace
from typing import Any

import pytest

from tpr.evaluation.protocols.visible_infrared import TEXT_NOTES
from tpr.evaluation.query_results import RETRIEVAL
from tpr.evaluation.rows import SELECTED_ON_TEST, Results, Row
from tpr.evaluation.tie_note import Ties
from tpr.report.result_table import draw_table

MEASURES = ("r1", "r5", "r10", "map", "minp")


def row(name: str, r1: float, *, direction: str = "text_to_image", model: str = "", **rest: Any) -> Row:
    measures = dict(zip(MEASURES, (r1, r1 + 10, r1 + 20, r1 / 2, r1 / 4), strict=True))
    return Row(
        **{
            "name": name,
            "protocol": "text",
            "measures": measures,
            "direction": direction,
            "is_main": direction in ("text_to_image", "infrared_to_visible"),
            "facts": {"queries": 100, "unmatched": 1},
            "model": model,
        }
        | rest
    )


def test_table_has_a_row_per_set_and_their_mean() -> None:
    results = Results((row("cuhk_pedes", 40.0), row("icfg_pedes", 20.125)))
    assert draw_table(results) == "\n".join(
        [
            "+------------+-------+-------+-------+-------+-------+",
            "| dataset    |   R@1 |   R@5 |  R@10 |   mAP |  mINP |",
            "+------------+-------+-------+-------+-------+-------+",
            "| cuhk_pedes | 40.00 | 50.00 | 60.00 | 20.00 | 10.00 |",
            "| icfg_pedes | 20.12 | 30.12 | 40.12 | 10.06 |  5.03 |",
            "+------------+-------+-------+-------+-------+-------+",
            "| mean       | 30.06 | 40.06 | 50.06 | 15.03 |  7.52 |",
            "+------------+-------+-------+-------+-------+-------+",
        ]
    )


def test_a_single_set_has_no_mean_row() -> None:
    assert "mean" not in draw_table(Results((row("rstpreid", 40.0),)))


def test_directions_and_their_means_stand_apart() -> None:
    rows = [row(name, r1, direction="text_to_image") for name, r1 in (("a", 10), ("b", 20))]
    rows += [row(name, r1, direction="image_to_text") for name, r1 in (("a", 50), ("b", 70))]
    results = Results(tuple(rows))
    assert [(mean.direction, mean.measures["r1"]) for mean in results.list_means()] == [
        ("text_to_image", 15),
        ("image_to_text", 60),
    ]
    assert "| mean    | image to text | 60.00 |" in draw_table(results)


def test_selection_on_test_is_marked_under_the_table() -> None:
    text = draw_table(Results((row("a", 1.0),), SELECTED_ON_TEST), "direct transfer")
    assert text.endswith("\n(the best epoch was selected on the test sets, as published)")
    assert "direct transfer" in text.splitlines()[1]


def test_merged_results_keep_their_names_marks_and_order() -> None:
    before = Results((row("a", 10.0),)).name_model("direct transfer")
    after = Results((row("a", 30.0),), "beware").name_model("fine-tuned")
    merged = before.merge(after)
    assert [line.split("|")[2].strip() for line in draw_table(merged).splitlines() if "| a " in line] == [
        "direct transfer",
        "fine-tuned",
    ]
    assert merged.mark == "beware"
    with pytest.raises(ValueError, match="two rows measure the same"):
        before.merge(before)


def test_intervals_stand_behind_their_numbers() -> None:
    intervals = {name: (39.0, 41.25) for name in ("r1", "r5", "r10", "map", "minp")}
    results = Results((row("a", 40.0, intervals=intervals),))
    assert "40.00 [39.0, 41.2]" in draw_table(results)
    assert Results.from_json(json.loads(json.dumps(results.to_json()))) == results


def test_the_mean_over_sets_has_an_interval_where_its_sets_have_one() -> None:
    rows = []
    for name, r1, low, high in (("a", 40.0, 3.0, 3.0), ("b", 20.0, 4.0, 4.0)):
        plain = row(name, r1).measures
        intervals = {m: (plain[m] - low, plain[m] + high) for m in MEASURES}
        if name == "b":
            intervals["r5"] = (intervals["r5"][0], intervals["r5"][1] + 8)
        rows.append(row(name, r1, intervals=intervals))
    (mean,) = Results(tuple(rows)).list_means()
    assert mean.intervals
    # Distances of 3 and 4 are 5 together and 2.5 for the mean of two; 3 and 12 are 12.37 and 6.18.
    assert mean.intervals["r1"] == pytest.approx((27.5, 32.5))
    assert mean.intervals["r5"] == pytest.approx((37.5, 40 + 153**0.5 / 2))
    assert "30.00 [27.5, 32.5]" in draw_table(Results(tuple(rows)))
    (without,) = Results((rows[0], row("b", 20.0))).list_means()
    assert not without.intervals


def test_json_is_read_back_unchanged() -> None:
    results = Results((row("a", 40.1), row("a", 60.3, model="fine-tuned")), SELECTED_ON_TEST)
    tree = json.loads(json.dumps(results.to_json()))
    assert tree["rows"][0]["measures"]["r1"] == 40.1
    assert "model" not in tree["rows"][0]
    assert Results.from_json(tree) == results


def test_ties_stand_below_the_table_and_in_json() -> None:
    ties = Ties(98.04, dict(zip(MEASURES, (2.0, 9.75, 18.9, 4.6, 2.5), strict=True)))
    tied = replace(row("a", 40.0, model="direct transfer"), ties=ties)
    results = Results((row("a", 40.0), tied))
    note = (
        "direct transfer, a, text to image: 98.0 % of a query's scores tie with one of its matches, and the "
        "order of the gallery decides; expected over all orders of equal scores: R@1 2.00, R@5 9.75, "
        "R@10 18.90, mAP 4.60, mINP 2.50"
    )
    assert results.list_marks() == [note]
    assert draw_table(results).splitlines()[-1] == f"({note})"
    tree = json.loads(json.dumps(results.to_json()))
    assert ["ties" in entry for entry in tree["rows"]] == [False, True]
    assert Results.from_json(tree) == results
    with pytest.raises(ValueError, match="must lie in"):
        Ties(float("nan"), {})


def test_an_interval_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="interval of r1 runs from 5 down to 4"):
        row("a", 1.0, intervals={"r1": (5, 4)})


def crossed(name: str, r1: float, query: str, *, direction: str = "infrared_to_visible", **rest: Any) -> Row:
    text = "oracle" if "ORACLE" in query else "own"
    measures = dict(zip(RETRIEVAL, (r1, r1 + 10, r1 + 20, r1 + 30, r1 / 2, r1 / 4), strict=True))
    notes = () if query == "infrared" else (TEXT_NOTES[text],)
    given = {"protocol": "visible_infrared", "measures": measures, "query": query, "notes": notes} | rest
    return row(name, r1, direction=direction, **given)


SPREAD = {measure: 0.5 for measure in RETRIEVAL}
LINES = [
    {"query": query, "search": search, "deviations": SPREAD, "facts": {"queries": 50, "trials": 10}}
    for search in ("all", "indoor")
    for query in ("infrared", "fused")
]


def test_a_visible_infrared_table_has_a_row_per_search_and_kind_and_no_mean() -> None:
    rows = [crossed("sysu_mm01", 10.0 * number, **line) for number, line in enumerate(LINES, 1)]
    *lines, spread, note = draw_table(Results(tuple(rows[:3]))).splitlines()
    assert spread == "(mean ± sample deviation over 10 drawn galleries)"
    assert note == f"({TEXT_NOTES['own']})"
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line] == [
        ["dataset", "query", "R@1", "R@5", "R@10", "R@20", "mAP", "mINP"],
        ["sysu_mm01 all", "infrared", *(f"{value:.2f} ± 0.50" for value in (10, 20, 30, 40, 5, 2.5))],
        ["sysu_mm01 all", "fused", *(f"{value:.2f} ± 0.50" for value in (20, 30, 40, 50, 10, 5))],
        ["sysu_mm01 indoor", "infrared", *(f"{value:.2f} ± 0.50" for value in (30, 40, 50, 60, 15, 7.5))],
    ]
    assert Results(tuple(rows)).list_means() == []


def test_no_text_loses_its_note() -> None:
    own, oracle = (crossed("a", 10.0, "text"), crossed("a", 20.0, "text (ORACLE)"))
    results = Results((own,), SELECTED_ON_TEST).merge(Results((oracle,)))
    for seen in (results, Results.from_json(json.loads(json.dumps(results.to_json())))):
        assert seen.list_marks() == [SELECTED_ON_TEST, TEXT_NOTES["own"], TEXT_NOTES["oracle"]]
        text = draw_table(seen)
        assert text.splitlines()[-3:] == [f"({mark})" for mark in seen.list_marks()]
        # Both stand in one table, and cannot be taken for one another.
        assert "| text          | 10.00" in text and "| text (ORACLE) | 20.00" in text
    assert "ORACLE" in TEXT_NOTES["oracle"]


def test_a_measure_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="rank1 is no measure; known: r1, r5"):
        row("a", 1.0, measures={"rank1": 1.0})


def test_json_of_visible_infrared_rows_is_read_back_unchanged() -> None:
    rows = [crossed("sysu_mm01", 10.0, **line) for line in LINES]
    rows.append(crossed("regdb", 30.0, "infrared", direction="visible_to_infrared", model="x"))
    results = Results((row("cuhk_pedes", 40.0), *rows), "beware")
    tree = json.loads(json.dumps(results.to_json()))
    assert Results.from_json(tree) == results
    assert tree["rows"][0].keys() == {"dataset", "protocol", "measures", "direction", "is_main", "facts"}
    assert tree["rows"][1]["measures"]["r20"] == 40.0
    assert "direction" in draw_table(results).splitlines()[1]


def test_json_of_the_first_version_is_read() -> None:
    values = {"r1": 10.0, "r5": 20.0, "r10": 30.0, "map": 5.0, "minp": 2.5, "queries": 50, "unmatched": 0}
    probe = {"query": "fused", "search": "all", "text": "oracle", "trials": 10, "deviations": SPREAD}
    older = {"set": "sysu_mm01", "direction": "infrared_to_visible", **values, "r20": 40.0, "probe": probe}
    plain = {"set": "cuhk_pedes", "direction": "image_to_text", "model": "x", **values}
    found, text = Results.from_json({"rows": [older, plain], "mark": ""}).rows
    facts = {"queries": 50, "unmatched": 0}
    assert found == crossed(
        "sysu_mm01", 10.0, **LINES[1] | {"query": "fused (ORACLE)", "facts": facts | {"trials": 10}}
    )
    assert (text.protocol, text.is_main, text.facts, text.model) == ("text", False, facts, "x")
    assert text.measures == {name: values[name] for name in MEASURES}


def test_rows_that_decide_are_text_to_image_and_the_last_kind_of_the_first_search() -> None:
    rows = [
        *(crossed("sysu_mm01", 10.0 * number, **line) for number, line in enumerate(LINES, 1)),
        crossed("regdb", 3.0, "infrared"),
        crossed("regdb", 4.0, "infrared", direction="visible_to_infrared"),
        row("a", 40.0, direction="image_to_text"),
        row("a", 60.0),
    ]
    assert [found.measures["r1"] for found in Results(tuple(rows)).list_deciding()] == [20.0, 3.0, 60.0]
    assert [found.measures["r1"] for found in Results((rows[-2],)).list_deciding()] == [40.0]


def test_curves_of_rows_have_names_without_blanks() -> None:
    curves = [crossed("sysu_mm01", 1.0, **LINES[number]).curve for number in (0, 3)]
    assert curves == [
        "sysu_mm01_all/infrared_to_visible/infrared",
        "sysu_mm01_indoor/infrared_to_visible/fused",
    ]
    assert crossed("regdb", 1.0, "text (ORACLE)").curve == "regdb/infrared_to_visible/text_ORACLE"
    assert row("a", 1.0).curve == "a/text_to_image"
