"""Rows that the first version stored in results, journals and checkpoints are read as rows of today."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.run_folders import write_run
from tpr.evaluation.protocols.visible_infrared import TEXT_NOTES
from tpr.evaluation.rows import Results, Row
from tpr.evaluation.tie_note import Ties
from tpr.report.result_table import draw_table
from tpr.report.runs import group_seeds, read_runs, tabulate_runs

MEASURES = {"r1": 60.5, "r5": 80.0, "r10": 90.0, "r20": 95.0, "map": 55.0, "minp": 40.0}
FIVE = {name: value for name, value in MEASURES.items() if name != "r20"}
CROSSED = {
    "rows": [
        {
            "set": "sysu_mm01",
            "direction": "infrared_to_visible",
            **MEASURES,
            "queries": 3803,
            "unmatched": 2,
            "probe": {"query": "infrared", "search": "all", "text": None, "trials": 10, "deviations": None},
        },
        {
            "set": "sysu_mm01",
            "direction": "infrared_to_visible",
            **MEASURES,
            "queries": 3803,
            "unmatched": 2,
            "probe": {
                "query": "ensemble",
                "search": "all",
                "text": "oracle",
                "trials": 10,
                "deviations": dict.fromkeys(MEASURES, 1.25),
            },
            "ties": {"share": 2.5, "expected": {"r1": 3.0, "map": 4.0}},
        },
        {
            "set": "regdb",
            "direction": "visible_to_infrared",
            "model": "fine-tuned",
            **MEASURES,
            "queries": 2060,
            "unmatched": 0,
            "probe": {"query": "fused", "search": "", "text": "own", "trials": 1, "deviations": None},
        },
    ],
    "mark": "beware",
}
CAPTIONS = {
    "rows": [
        {
            "set": "cuhk_pedes",
            "direction": "text_to_image",
            "model": "direct transfer",
            **FIVE,
            "queries": 6156,
            "unmatched": 1,
            "intervals": {"r1": [59.0, 61.5], "map": [54.0, 56.0]},
            "ties": {"share": 2.5, "expected": {"r1": 3.0}},
        },
        {"set": "cuhk_pedes", "direction": "image_to_text", **FIVE, "queries": 3074, "unmatched": 0},
    ]
}


def test_visible_infrared_rows_are_read_with_their_probe() -> None:
    crossed = {"protocol": "visible_infrared", "measures": MEASURES}
    ours = {"queries": 3803, "unmatched": 2, "trials": 10}
    sysu = crossed | {"direction": "infrared_to_visible", "search": "all", "facts": ours}
    assert Results.from_json(CROSSED) == Results(
        (
            Row(name="sysu_mm01", query="infrared", **sysu),
            Row(
                name="sysu_mm01",
                query="ensemble (ORACLE)",
                deviations=dict.fromkeys(MEASURES, 1.25),
                notes=(TEXT_NOTES["oracle"],),
                ties=Ties(2.5, {"r1": 3.0, "map": 4.0}),
                **sysu,
            ),
            Row(
                name="regdb",
                direction="visible_to_infrared",
                is_main=False,
                query="fused",
                facts={"queries": 2060, "unmatched": 0, "trials": 1},
                notes=(TEXT_NOTES["own"],),
                model="fine-tuned",
                **crossed,
            ),
        ),
        "beware",
    )


def test_rows_of_captions_are_read_with_intervals_and_both_directions() -> None:
    assert Results.from_json(CAPTIONS) == Results(
        (
            Row(
                name="cuhk_pedes",
                protocol="text",
                direction="text_to_image",
                measures=FIVE,
                facts={"queries": 6156, "unmatched": 1},
                intervals={"r1": (59.0, 61.5), "map": (54.0, 56.0)},
                model="direct transfer",
                ties=Ties(2.5, {"r1": 3.0}),
            ),
            Row(
                name="cuhk_pedes",
                protocol="text",
                direction="image_to_text",
                is_main=False,
                measures=FIVE,
                facts={"queries": 3074, "unmatched": 0},
            ),
        )
    )


@pytest.mark.parametrize("tree", [CROSSED, CAPTIONS], ids=["visible-infrared", "captions"])
def test_what_is_read_is_stored_in_the_form_of_today(tree: dict[str, Any]) -> None:
    results = Results.from_json(tree)
    stored = json.loads(json.dumps(results.to_json()))
    assert all(row.keys() >= {"dataset", "protocol", "measures", "facts"} for row in stored["rows"])
    assert not any(row.keys() & {"set", "probe", "r1", "queries"} for row in stored["rows"])
    assert Results.from_json(stored) == results


def test_an_older_table_keeps_deviations_notes_and_the_number_of_galleries() -> None:
    lines = draw_table(Results.from_json(CROSSED)).splitlines()
    row = next(line for line in lines if "ensemble (ORACLE)" in line)
    assert [cell.strip() for cell in row.split("|")[5:7]] == ["60.50 ± 1.25", "80.00 ± 1.25"]
    assert lines[-5:-1] == [
        "(mean ± sample deviation over 10 drawn galleries)",
        "(beware)",
        f"({TEXT_NOTES['oracle']})",
        f"({TEXT_NOTES['own']})",
    ]
    assert lines[-1].startswith("(sysu_mm01 all, infrared to visible, ensemble (ORACLE): 2.5 % of a query's")


def test_a_report_reads_results_and_journals_of_an_older_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "old")
    event = {"kind": "evaluation", "step": 5, "epoch": 1, "split": "val", **CROSSED}
    (folder / "journal.jsonl").write_text(json.dumps(event) + "\n")
    content = {"results": CROSSED, "before": {}, "best_epoch": 1, "finished": True}
    (folder / "results.json").write_text(json.dumps(content))
    (run,) = read_runs([folder])
    assert run.history.scores == ((1, 5, "val", 60.5),)
    assert run.closing is not None and run.closing.results == Results.from_json(CROSSED)
    text = tabulate_runs(group_seeds([run]), markdown=True)
    assert "| old |  | ensemble (ORACLE) | 60.50 | 80.00 | 90.00 | 55.00 |" in text
    assert "regdb, visible to infrared R@1" in text and f"{TEXT_NOTES['oracle']}." in text
