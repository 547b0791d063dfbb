"""Published numbers beside a run's own, with the difference."""

import pytest

from tpr.config.published import PublishedOptions
from tpr.config.typed import build_options
from tpr.errors import ConfigError
from tpr.evaluation.metrics import Metrics
from tpr.evaluation.results import Probe, Results, Row
from tpr.report.published import tabulate_published

IRRA = PublishedOptions(
    dataset="cuhk_pedes",
    measures={"r1": 73.38, "map": 66.13},
    source="IRRA, CVPR 2023",
    selection="best epoch on the test set",
)


def make_results(r1: float, name: str = "cuhk_pedes", probe: Probe | None = None) -> Results:
    metrics = Metrics(r1=r1, r5=90, r10=95, map=60, minp=40, queries=10)
    direction = "infrared_to_visible" if probe else "text_to_image"
    rows = [Row(name, direction, metrics, probe=probe)]
    if probe is None:
        rows.insert(
            0, Row(name, "text_to_image", Metrics(**{**vars(metrics), "r1": 1.0}), model="direct transfer")
        )
        rows.append(Row(name, "image_to_text", metrics))
    return Results(tuple(rows))


def test_the_difference_is_that_of_the_last_model_averaged_over_runs() -> None:
    text = tabulate_published([IRRA], [make_results(74.0), make_results(75.0)])
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    assert lines == [
        ["published", "R@1", "mAP"],
        ["cuhk_pedes [1]", "73.38", "66.13"],
        ["found - published", "+1.12", "-6.13"],
    ]
    assert text.endswith("[1] IRRA, CVPR 2023; best epoch on the test set")


def test_what_was_not_measured_in_the_same_way_has_no_difference() -> None:
    oracle = PublishedOptions(dataset="llcm", measures={"r1": 58.0}, source="T", query="ensemble (ORACLE)")
    own = make_results(50, "llcm", Probe("ensemble", text="own"))
    same = make_results(50, "llcm", Probe("ensemble", text="oracle"))
    assert "found - published |" in tabulate_published([oracle], [own])
    assert "-8.00" not in tabulate_published([oracle], [own])
    assert "-8.00" in tabulate_published([oracle], [same])
    assert "| llcm [1] | ensemble (ORACLE) | 58.00 |" in tabulate_published([oracle], [same], markdown=True)


@pytest.mark.parametrize(
    ("measures", "problem"),
    [({}, "got none"), ({"r2": 3.0}, "expected some of r1, r5, .*got 'r2'"), ({"r1": 101}, r"in \[0, 100\]")],
)
def test_a_published_row_that_cannot_be_is_refused(measures: dict[str, float], problem: str) -> None:
    row = {"dataset": "llcm", "measures": measures, "source": "nowhere"}
    with pytest.raises(ConfigError, match=problem):
        build_options(PublishedOptions, row, {})
