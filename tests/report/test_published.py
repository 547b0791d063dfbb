"""Published numbers beside a run's own, with the difference."""

from dataclasses import replace

import pytest

from tpr.config.published import PublishedOptions
from tpr.config.typed import build_options
from tpr.errors import ConfigError
from tpr.evaluation.rows import Results, Row
from tpr.report.published import tabulate_published

IRRA = PublishedOptions(
    dataset="cuhk_pedes",
    measures={"r1": 73.38, "map": 66.13},
    source="IRRA, CVPR 2023",
    selection="best epoch on the test set",
)


def make_results(r1: float) -> Results:
    """The row of a set of captions between one of another model and one of another direction."""
    measures = {"r1": r1, "r5": 90.0, "r10": 95.0, "map": 60.0, "minp": 40.0}
    row = Row(name="cuhk_pedes", protocol="text", direction="text_to_image", measures=measures)
    direct = replace(row, measures=measures | {"r1": 1.0}, model="direct transfer")
    return Results((direct, row, replace(row, direction="image_to_text", is_main=False)))


def make_crossed(r1: float, query: str) -> Results:
    row = Row(
        name="llcm",
        protocol="visible_infrared",
        direction="infrared_to_visible",
        measures={"r1": r1, "r5": 90.0, "r10": 95.0, "r20": 97.0, "map": 60.0, "minp": 40.0},
        query=query,
    )
    return Results((row,))


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
    own, same = make_crossed(50, "ensemble"), make_crossed(50, "ensemble (ORACLE)")
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
