import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from tests.report.run_folders import Score, make_results, write_run
from tpr.errors import ConfigError
from tpr.report.curves import DOTS_PER_INCH, average_seeds, build_figure, draw_curves, list_losses
from tpr.report.runs import Group, History, LossPoint, Run, ScorePoint, group_seeds, read_runs


def score(epoch: int, r1: float, split: str = "val") -> Score:
    return epoch, 5 * epoch, split, make_results(a=r1)


def draw_groups(tmp_path: Path) -> list[Group]:
    """Two seeds of one run, and another run that is not finished."""
    done = make_results(a=50)
    paths = [
        write_run(
            tmp_path / "x-seed1",
            done,
            seed=1,
            losses={5: 4.0, 10: 2.0},
            scores=[score(1, 20), score(2, 40), score(2, 50, "best")],
        ),
        write_run(
            tmp_path / "x-seed2",
            done,
            seed=2,
            losses={5: 6.0, 10: 3.0},
            scores=[score(1, 30), score(2, 44), score(1, 52, "best")],
        ),
        write_run(tmp_path / "going", losses={5: 7.0}, scores=[score(1, 12)]),
    ]
    return group_seeds(read_runs(paths))


def list_lines(axes: Axes, marker: str | None = None) -> list[list[list[float]]]:
    """Places and values of each line, without stars; with a marker: of the lines that have it."""
    lines = [line for line in axes.lines if (line.get_marker() == "*") == (marker == "*")]
    return [np.asarray(line.get_xydata()).T.tolist() for line in lines]


def test_a_line_per_run_and_a_band_of_one_deviation_over_seeds(tmp_path: Path) -> None:
    losses, scores = build_figure(draw_groups(tmp_path)).axes
    # Losses 4 and 6, then 2 and 3; R@1 20 and 30, then 40 and 44.
    assert list_lines(losses) == [[[5, 10], [5, 2.5]], [[5], [7]]]
    assert list_lines(scores) == [[[1, 2], [25, 42]], [[1], [12]]]
    assert list_lines(scores, "*") == [[[2], [50]], [[1], [52]]]
    for axes, middle, deviation in ((losses, (5, 2.5), (1.414, 0.707)), (scores, (25, 42), (7.071, 2.828))):
        (band,) = [part for part in axes.collections if isinstance(part, PolyCollection)]
        corners = {tuple(corner) for corner in np.round(band.get_paths()[0].vertices, 3).tolist()}
        places = (5, 10) if axes is losses else (1, 2)
        for place, mean, spread in zip(places, middle, deviation, strict=True):
            assert {(place, round(mean + sign * spread, 3)) for sign in (-1, 1)} <= corners
    colours = [line.get_color() for line in losses.lines]
    assert len(set(colours)) == 2
    assert [line.get_color() for line in scores.lines if line.get_marker() != "*"] == colours


def test_axes_and_lines_are_named(tmp_path: Path) -> None:
    figure = build_figure(draw_groups(tmp_path))
    losses, scores = figure.axes
    assert [losses.get_title(), losses.get_xlabel(), losses.get_ylabel()] == ["training loss", "step", "loss"]
    assert scores.get_title() == "retrieval on validation"
    assert [scores.get_xlabel(), scores.get_ylabel()] == ["epoch", "R@1 in %, mean over datasets"]
    assert list_labels(figure) == ["x (2 seeds)", "going", "test sets, selected epoch"]


def list_labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_lines_say_what_they_are_measured_on_where_that_differs(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / "one", scores=[score(1, 12, "val")]),
        write_run(tmp_path / "two", scores=[score(1, 12, "test")]),
        write_run(tmp_path / "three", losses={5: 1.0}),
    ]
    figure = build_figure(group_seeds(read_runs(paths)))
    assert figure.axes[1].get_title() == "retrieval on validation or test sets"
    assert list_labels(figure) == ["one, validation", "two, test sets", "three"]


def test_a_run_that_told_nothing_yet_is_an_empty_image(tmp_path: Path) -> None:
    figure = build_figure(group_seeds(read_runs([write_run(tmp_path / "x")])))
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == 2 * [["nothing yet"]]


def test_epochs_are_whole_numbers_even_where_there_is_one(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "x", scores=[score(24, 12, "best")])])
    axes = build_figure(group_seeds(runs)).axes[1]
    ticks = axes.get_xticks().tolist()
    assert 24 in ticks and all(tick == round(tick) for tick in ticks)


def test_seeds_are_averaged_over_the_stretch_that_all_of_them_cover() -> None:
    curve = average_seeds([{0: 0.0, 10: 10.0, 20: 30.0}, {5: 1.0, 15: 3.0}])
    # The first run lies at 5 half-way from 0 to 10, and at 15 half-way from 10 to 30; the second at 10 is 2.
    assert curve.places.tolist() == [5, 10, 15]
    assert curve.middle.tolist() == [3, 6, 11.5]
    assert curve.deviation is not None
    assert curve.deviation == pytest.approx(np.array([4, 8, 17]) / math.sqrt(2))
    assert average_seeds([{1: 1.0}, {}]).places.tolist() == []
    assert average_seeds([{1: 1.0}, {2: 1.0}]).places.tolist() == []


def test_what_is_no_number_leaves_a_gap() -> None:
    curve = average_seeds([{1: 1.0, 2: math.inf, 3: math.nan, 4: 4.0}])
    assert np.isnan(curve.middle).tolist() == [False, True, True, False]
    assert curve.deviation is None


def make_run(label: str, losses: list[tuple[int, float]]) -> Run:
    points = tuple(LossPoint(1, step, loss) for step, loss in losses)
    return Run(label, 1, label, 60, True, History(points, (ScorePoint(1, 1, "best", 9.0),)), None)


def test_a_point_over_few_steps_joins_the_one_before() -> None:
    # Lines after 10, 20 and 24 steps: four steps are less than half of ten, so (20 - 10) steps of 2 and four
    # of 9 are 56 / 14; six are not less than half.
    assert list_losses(make_run("x", [(10, 3.0), (20, 2.0), (24, 9.0)])) == {10: 3.0, 24: 4.0}
    assert list_losses(make_run("x", [(10, 3.0), (16, 2.0)])) == {10: 3.0, 16: 2.0}
    assert list_losses(make_run("x", [(2, 5.0), (12, 1.0)])) == {2: 5.0, 12: 1.0}
    assert list_losses(make_run("x", [])) == {}


NAMES = {
    "one short": ["a"],
    "forty": [f"mllm4text-finetune_cuhk_pedes-{number} (3 seeds)" for number in range(40)],
    "one very long": ["/scratch/" + "long-" * 50 + "name", "b"],
    "a path": [
        "/cluster/projects/retrieval/runs/irra-cuhk_pedes-seed1, irra-cuhk_pedes-seed2 (2 seeds)",
        "b",
    ],
    "signs": ["$x$ and $y", "_hidden", "a_b^c"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_nothing_is_cut_off_and_the_curves_keep_their_room(names: list[str]) -> None:
    groups = [Group(name, (make_run(name, [(1, 2.0), (2, 123456.0)]),)) for name in names]
    figure = build_figure(groups)
    figure.set_dpi(DOTS_PER_INCH)
    FigureCanvasAgg(figure).draw()
    left, bottom, right, top = figure.bbox.extents
    (legend,) = figure.legends
    for part in (*figure.axes, legend, *legend.get_texts()):
        # The axes with their titles and the labels of their ticks.
        x0, y0, x1, y1 = part.get_tightbbox().extents
        assert left <= x0 < x1 <= right and bottom <= y0 < y1 <= top, part
    for axes in figure.axes:
        # At least 2.5 inches high and 4 wide, and above the legend.
        assert axes.bbox.height > 2.5 * DOTS_PER_INCH and axes.bbox.width > 4 * DOTS_PER_INCH
        assert axes.get_tightbbox().y0 >= legend.get_window_extent().y1 - 1
    assert len(legend.get_texts()) == len(names) + 1


def test_lines_of_many_runs_are_told_apart() -> None:
    groups = [Group(str(number), (make_run(str(number), [(1, 2.0), (2, 1.0)]),)) for number in range(28)]
    lines = build_figure(groups).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 28


def test_the_image_is_written_whole(tmp_path: Path) -> None:
    groups = draw_groups(tmp_path)
    draw_curves(tmp_path / "curves.PNG", groups)
    with Image.open(tmp_path / "curves.PNG") as image:
        image.load()
        assert image.format == "PNG" and image.width == 11 * DOTS_PER_INCH
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "missing/curves.png",
            r"--curves .*curves.png: the image cannot be written \(No such file or directory\)",
        ),
        (
            "folder.png",
            r"--curves .*folder.png: the image cannot be written \(Is a directory\); free or unlock",
        ),
        (
            "curves.pdf",
            r"--curves .*curves.pdf: the image is a PNG file; expected a name that ends in .png",
        ),
    ],
)
def test_an_image_that_cannot_be_written_is_one_clear_line_and_leaves_nothing(
    name: str, message: str, tmp_path: Path
) -> None:
    groups = draw_groups(tmp_path / "runs")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=message):
        draw_curves(tmp_path / name, groups)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "runs"]
