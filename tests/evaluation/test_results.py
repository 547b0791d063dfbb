import json
from dataclasses import replace

import pytest

from tpr.evaluation.metrics import MEASURES, Metrics
from tpr.evaluation.results import SELECTED_ON_TEST, TEXT_NOTES, Direction, Probe, Results, Row
from tpr.evaluation.tie_note import Ties
from tpr.evaluation.visible_infrared import CROSS_MEASURES


def row(name: str, r1: float, *, direction: Direction = "text_to_image", model: str = "") -> Row:
    metrics = Metrics(r1=r1, r5=r1 + 10, r10=r1 + 20, map=r1 / 2, minp=r1 / 4, queries=100, unmatched=1)
    return Row(name, direction, metrics, None, model)


def test_table_has_a_row_per_set_and_their_mean() -> None:
    results = Results((row("cuhk_pedes", 40.0), row("icfg_pedes", 20.125)))
    assert results.to_table() == "\n".join(
        [
            "+------------+-------+-------+-------+-------+-------+",
            "| set        |   R@1 |   R@5 |  R@10 |   mAP |  mINP |",
            "+------------+-------+-------+-------+-------+-------+",
            "| cuhk_pedes | 40.00 | 50.00 | 60.00 | 20.00 | 10.00 |",
            "| icfg_pedes | 20.12 | 30.12 | 40.12 | 10.06 |  5.03 |",
            "+------------+-------+-------+-------+-------+-------+",
            "| mean       | 30.06 | 40.06 | 50.06 | 15.03 |  7.52 |",
            "+------------+-------+-------+-------+-------+-------+",
        ]
    )


def test_a_single_set_has_no_mean_row() -> None:
    assert "mean" not in Results((row("rstpreid", 40.0),)).to_table()


def test_directions_and_their_means_stand_apart() -> None:
    rows = [row(name, r1, direction="text_to_image") for name, r1 in (("a", 10), ("b", 20))]
    rows += [row(name, r1, direction="image_to_text") for name, r1 in (("a", 50), ("b", 70))]
    results = Results(tuple(rows))
    assert [(mean.direction, mean.metrics.r1) for mean in results.list_means()] == [
        ("text_to_image", 15),
        ("image_to_text", 60),
    ]
    assert "| mean | image to text | 60.00 |" in results.to_table()


def test_selection_on_test_is_marked_under_the_table() -> None:
    text = Results((row("a", 1.0),), SELECTED_ON_TEST).to_table("direct transfer")
    assert text.endswith("\n(the best epoch was selected on the test sets, as published)")
    assert "direct transfer" in text.splitlines()[1]


def test_merged_results_keep_their_names_marks_and_order() -> None:
    before = Results((row("a", 10.0),)).name_model("direct transfer")
    after = Results((row("a", 30.0),), "beware").name_model("fine-tuned")
    merged = before.merge(after)
    assert [line.split("|")[2].strip() for line in merged.to_table().splitlines() if "| a " in line] == [
        "direct transfer",
        "fine-tuned",
    ]
    assert merged.mark == "beware"
    with pytest.raises(ValueError, match="two rows measure the same"):
        before.merge(before)


def test_intervals_stand_behind_their_numbers() -> None:
    plain = row("a", 40.0)
    intervals = {name: (39.0, 41.25) for name in ("r1", "r5", "r10", "map", "minp")}
    results = Results((Row("a", "text_to_image", plain.metrics, intervals),))
    assert "40.00 [39.0, 41.2]" in results.to_table()
    assert Results.from_json(json.loads(json.dumps(results.to_json()))) == results


def test_the_mean_over_sets_has_an_interval_where_its_sets_have_one() -> None:
    rows = []
    for name, r1, low, high in (("a", 40.0, 3.0, 3.0), ("b", 20.0, 4.0, 4.0)):
        plain = row(name, r1).metrics
        intervals = {m: (getattr(plain, m) - low, getattr(plain, m) + high) for m in MEASURES}
        if name == "b":
            intervals["r5"] = (intervals["r5"][0], intervals["r5"][1] + 8)
        rows.append(Row(name, "text_to_image", plain, intervals))
    (mean,) = Results(tuple(rows)).list_means()
    assert mean.intervals is not None
    # Distances of 3 and 4 are 5 together and 2.5 for the mean of two; 3 and 12 are 12.37 and 6.18.
    assert mean.intervals["r1"] == pytest.approx((27.5, 32.5))
    assert mean.intervals["r5"] == pytest.approx((37.5, 40 + 153**0.5 / 2))
    assert "30.00 [27.5, 32.5]" in Results(tuple(rows)).to_table()
    (without,) = Results((rows[0], row("b", 20.0))).list_means()
    assert without.intervals is None


def test_json_is_read_back_unchanged() -> None:
    results = Results((row("a", 40.1), row("a", 60.3, model="fine-tuned")), SELECTED_ON_TEST)
    tree = json.loads(json.dumps(results.to_json()))
    assert tree["rows"][0]["r1"] == 40.1
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
    assert results.to_table().splitlines()[-1] == f"({note})"
    tree = json.loads(json.dumps(results.to_json()))
    assert ["ties" in entry for entry in tree["rows"]] == [False, True]
    assert Results.from_json(tree) == results
    with pytest.raises(ValueError, match="must lie in"):
        Ties(float("nan"), {})


def test_an_interval_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="interval of r1 runs from 5 down to 4"):
        Row("a", "text_to_image", row("a", 1.0).metrics, {"r1": (5, 4)})


def crossed(
    name: str, r1: float, probe: Probe, *, direction: Direction = "infrared_to_visible", model: str = ""
) -> Row:
    plain = row(name, r1).metrics
    values = {measure: getattr(plain, measure) for measure in MEASURES}
    metrics = Metrics(**values, r20=r1 + 30, queries=50)
    return Row(name, direction, metrics, None, model, probe)


SPREAD = {measure: 0.5 for measure in CROSS_MEASURES}
PROBES = [
    Probe("infrared", "all", None, 10, SPREAD),
    Probe("fused", "all", "own", 10, SPREAD),
    Probe("infrared", "indoor", None, 10, SPREAD),
    Probe("fused", "indoor", "own", 10, SPREAD),
]


def test_a_visible_infrared_table_has_a_row_per_search_and_kind_and_no_mean() -> None:
    rows = [crossed("sysu_mm01", 10.0 * number, probe) for number, probe in enumerate(PROBES, 1)]
    *lines, spread, note = Results(tuple(rows[:3])).to_table().splitlines()
    assert spread == "(mean ± sample deviation over 10 drawn galleries)"
    assert note == f"({TEXT_NOTES['own']})"
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line] == [
        ["set", "query", "R@1", "R@5", "R@10", "R@20", "mAP", "mINP"],
        ["sysu_mm01 all", "infrared", *(f"{value:.2f} ± 0.50" for value in (10, 20, 30, 40, 5, 2.5))],
        ["sysu_mm01 all", "fused", *(f"{value:.2f} ± 0.50" for value in (20, 30, 40, 50, 10, 5))],
        ["sysu_mm01 indoor", "infrared", *(f"{value:.2f} ± 0.50" for value in (30, 40, 50, 60, 15, 7.5))],
    ]
    assert Results(tuple(rows)).list_means() == []


def test_no_text_loses_its_note() -> None:
    own, oracle = (
        crossed("a", 10.0, Probe("text", "", "own")),
        crossed("a", 20.0, Probe("text", "", "oracle")),
    )
    results = Results((own,), SELECTED_ON_TEST).merge(Results((oracle,)))
    for seen in (results, Results.from_json(json.loads(json.dumps(results.to_json())))):
        assert seen.list_marks() == [SELECTED_ON_TEST, TEXT_NOTES["own"], TEXT_NOTES["oracle"]]
        text = seen.to_table()
        assert text.splitlines()[-3:] == [f"({mark})" for mark in seen.list_marks()]
        # Both stand in one table, and cannot be taken for one another.
        assert "| text          | 10.00" in text and "| text (ORACLE) | 20.00" in text
    assert "ORACLE" in TEXT_NOTES["oracle"]
    with pytest.raises(ValueError, match="a query of kind fused with None text"):
        Probe("fused")
    with pytest.raises(ValueError, match="a query of kind infrared with own text"):
        Probe("infrared", "", "own")


def test_json_of_visible_infrared_rows_is_read_back_unchanged() -> None:
    rows = [crossed("sysu_mm01", 10.0, probe) for probe in PROBES]
    rows.append(crossed("regdb", 30.0, Probe("infrared"), direction="visible_to_infrared", model="x"))
    results = Results((row("cuhk_pedes", 40.0), *rows), "beware")
    tree = json.loads(json.dumps(results.to_json()))
    assert Results.from_json(tree) == results
    assert tree["rows"][0].keys() == {"set", "direction", *MEASURES, "queries", "unmatched"}
    assert tree["rows"][1]["r20"] == 40.0
    assert "direction" in results.to_table().splitlines()[1]


def test_rows_that_decide_are_text_to_image_and_the_last_kind_of_the_first_search() -> None:
    rows = [
        *(crossed("sysu_mm01", 10.0 * number, probe) for number, probe in enumerate(PROBES, 1)),
        crossed("regdb", 3.0, Probe("infrared")),
        crossed("regdb", 4.0, Probe("infrared"), direction="visible_to_infrared"),
        row("a", 40.0, direction="image_to_text"),
        row("a", 60.0),
    ]
    assert [found.metrics.r1 for found in Results(tuple(rows)).list_deciding()] == [60.0, 20.0, 3.0]
    assert [found.metrics.r1 for found in Results((rows[-2],)).list_deciding()] == [40.0]


def test_curves_of_rows_have_names_without_blanks() -> None:
    curves = [crossed("sysu_mm01", 1.0, probe).curve for probe in (PROBES[0], PROBES[3])]
    assert curves == [
        "sysu_mm01_all/infrared_to_visible/infrared",
        "sysu_mm01_indoor/infrared_to_visible/fused_own",
    ]
    assert crossed("regdb", 1.0, Probe("text", "", "oracle")).curve == "regdb/infrared_to_visible/text_oracle"
    assert row("a", 1.0).curve == "a/text_to_image"
