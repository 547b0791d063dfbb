"""Two runs on the same queries: what is printed, and that the interval is that of the difference."""

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.query_tables import LABEL, make_table
from tpr.errors import DataError
from tpr.evaluation.intervals import bootstrap_intervals
from tpr.evaluation.query_table import QueryTable
from tpr.report.comparing import compare_queries, tabulate_differences

NAMES = ("one", "other")


def draw_pair(better: float) -> tuple[QueryTable, QueryTable]:
    """60 people with five queries each that mostly succeed or fail together; B finds more of the rest."""
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(60), 5)
    is_easy = rng.random(60)[identity] < 0.5
    ours = is_easy | (rng.random(300) < 0.1)
    theirs = ours | (rng.random(300) < better)
    return make_table(np.where(ours, 1, 3), identity), make_table(np.where(theirs, 1, 3), identity)


def test_the_difference_is_surer_than_the_numbers() -> None:
    one, other = draw_pair(better=0.2)
    found = compare_queries(one, other)["r1"]
    low, high = found.interval
    gain = found.after - found.before
    assert found.before == pytest.approx(one.results.measures()[:, 0].mean())
    assert 0 < low < gain < high
    assert found.better == 100
    apart = [bootstrap_intervals(table.results, ("r1",))["r1"] for table in (one, other)]
    # Unpaired, the variances of both would add up; here people decide, and they are the same.
    assert high - low < 0.5 * np.hypot(*(end - start for start, end in apart))
    # Standard error of a mean over people, by the formula.
    gains = (other.results.measures() - one.results.measures())[:, 0].reshape(60, 5).mean(axis=1)
    assert high - low == pytest.approx(2 * 1.96 * gains.std(ddof=1) / np.sqrt(60), rel=0.1)


def test_chance_alone_has_zero_in_its_interval() -> None:
    rng = np.random.default_rng(1)
    identity = np.repeat(np.arange(50), 4)
    one, other = (make_table(rng.integers(1, 4, 200), identity) for _ in range(2))
    for found in compare_queries(one, other).values():
        assert found.interval[0] <= 0 <= found.interval[1]
        assert 0 <= found.better < 97.5


def test_a_run_against_itself_is_all_zeros_and_the_same_seed_the_same_numbers() -> None:
    one, other = draw_pair(better=0.3)
    for found in compare_queries(one, one).values():
        assert (found.after - found.before, found.interval, found.better) == (0, (0, 0), 0)
    assert compare_queries(one, other) == compare_queries(one, other)
    assert compare_queries(one, other) != compare_queries(one, other, seed=1)


def test_trials_of_one_person_are_drawn_together() -> None:
    one, other = draw_pair(better=0.2)
    trials = [
        make_table(np.tile(table.results.first, 3), np.tile(table.results.identity, 3), trials=3)
        for table in (one, other)
    ]
    # Three times the same gallery makes nothing surer.
    for name, found in compare_queries(*trials).items():
        expected = compare_queries(one, other)[name]
        assert found.interval == pytest.approx(expected.interval)
        assert (found.before, found.after) == pytest.approx((expected.before, expected.after))


def test_the_table_has_a_line_per_measure_and_says_what_is_left_out() -> None:
    one, other = make_table([1, 2, 1, 20], [1, 1, 2, 3]), make_table([1, 1, 1, 20], [1, 1, 2, 3])
    moved = LABEL._replace(dataset="moved")
    lines = tabulate_differences(
        {LABEL: one, moved: one, LABEL._replace(dataset="mine"): one},
        {LABEL: other, moved: make_table([1, 1], [1, 1])},
        NAMES,
    ).splitlines()
    assert [line.split("|")[1:6] for line in lines[3:7]] == [
        [" toy, text to image ", " R@1     ", " 50.00 ", " 75.00 ", " +25.00 "],
        [" toy, text to image ", " R@5     ", " 75.00 ", " 75.00 ", "  +0.00 "],
        [" toy, text to image ", " R@10    ", " 75.00 ", " 75.00 ", "  +0.00 "],
        [" toy, text to image ", " mAP     ", " 63.75 ", " 76.25 ", " +12.50 "],
    ]
    assert lines[8:] == [
        "(A: one; B: other)",
        "(paired bootstrap over identities, 2,000 samples; better: share of them in which B is above A)",
        "(moved, text to image: A and B have other queries or galleries, which cannot be paired)",
        "(mine, text to image: measured by A alone)",
    ]
    markdown = tabulate_differences({LABEL: one}, {LABEL: other}, NAMES, markdown=True).splitlines()
    assert markdown[0] == "| dataset | measure | A | B | B - A | 95 % interval | B better |"
    assert markdown[3].endswith("| 75.00 | 75.00 | +0.00 | [+0.00, +0.00] | 0.0 % |")


def test_nothing_to_compare_is_one_line(tmp_path: Path) -> None:
    one = make_table([1, 2], [1, 2])
    with pytest.raises(
        DataError, match=r"one and other have nothing to compare \(toy, text to image: A and B"
    ):
        tabulate_differences({LABEL: one}, {LABEL: make_table([1, 2], [1, 1])}, NAMES)
