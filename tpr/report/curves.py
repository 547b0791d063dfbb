"""Learning curves of several runs as one image: the loss over steps, R@1 over epochs.

Runs that are seeds of one another are one line, their mean, in a band of one standard deviation.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tpr.errors import ConfigError
from tpr.report.runs import CLOSING, Group, Run
from tpr.whole_files import write_whole

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart by colour-blind eyes, without its yellow, too faint on white."""
LINES = ("-", "--", ":", "-.")
"""Taken in turn once all colours are used."""
SPLITS = {"val": "validation", "test": "test sets"}
SIZE = (11.0, 4.4)
"""Width and height in inches, without the legend."""
LEGEND_LINE = 0.21
"""Height of a line of the legend in inches."""
LETTERS = 140
"""Letters that fit side by side into the legend."""
DOTS_PER_INCH = 150

Array = npt.NDArray[np.float64]
Style = Mapping[str, Any]
STAR: Style = {
    "linestyle": "", "marker": "*", "markersize": 11, "markeredgecolor": "white", "markeredgewidth": 0.6,
}  # fmt: skip
"""How the closing evaluation is shown."""


class Curve(NamedTuple):
    """One line of the image."""

    places: Array
    """(N,) steps or epochs."""
    middle: Array
    """(N,) the value, or the mean over seeds."""
    deviation: Array | None
    """(N,) sample deviation over seeds; None for a single run."""


def draw_curves(path: Path, groups: Sequence[Group]) -> None:
    """Write the image whole or not at all. Raises ConfigError if it cannot be."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--curves {path}: the image is a PNG file; expected a name that ends in .png")
    encoded = io.BytesIO()
    build_figure(groups).savefig(encoded, format="png", dpi=DOTS_PER_INCH)
    try:
        write_whole(path, encoded.getvalue())
    except OSError as error:
        raise ConfigError(
            f"--curves {path}: the image cannot be written ({error.strerror}); free or unlock the folder, "
            "or name another file"
        ) from error


def build_figure(groups: Sequence[Group]) -> Figure:
    """Losses on the left, evaluations on the right, one legend below."""
    labels = label_lines(groups)
    columns = max(1, LETTERS // (8 + max(len(line) for label in labels for line in label.split("\n"))))
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    figure = Figure((SIZE[0], SIZE[1] + LEGEND_LINE * (lines + 2)), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    handles = []
    for number, group in enumerate(groups):
        style: Style = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": LINES[number // len(COLOURS) % len(LINES)],
        }
        draw_line(losses, [list_losses(run) for run in group.runs], style)
        draw_line(scores, [list_scores(run) for run in group.runs], style, marker="o")
        draw_closing(scores, group, style["color"])
        handles.append(Line2D([], [], linewidth=2, **style))
    name_axes(losses, "training loss", "step", "loss")
    splits = " or ".join(list_splits(groups))
    name_axes(scores, f"retrieval on {splits or 'test sets'}", "epoch", "R@1 in %, mean over datasets")
    if any(point.split == CLOSING for group in groups for run in group.runs for point in run.history.scores):
        handles.append(Line2D([], [], color="#555555", **STAR))
        labels.append("test sets, selected epoch")
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    return figure


def label_lines(groups: Sequence[Group]) -> list[str]:
    """Labels for the legend, with the split where they differ; long ones are broken.

    A dollar sign and a leading underscore mean something to matplotlib and are disarmed.
    """
    splits = [list_splits([group]) for group in groups]
    are_mixed = len({name for names in splits for name in names}) > 1
    labels = []
    for group, names in zip(groups, splits, strict=True):
        label = ", ".join([group.label, *(names if are_mixed else [])])
        label = fill(label, LETTERS - 8, break_on_hyphens=False).replace("$", r"\$")
        labels.append(f" {label}" if label.startswith("_") else label)
    return labels


def draw_line(axes: Axes, points: Sequence[Mapping[int, float]], style: Style, *, marker: str = "") -> None:
    """One group's line, with its band; a line of one point is a dot."""
    curve = average_seeds(points)
    marker = "o" if len(curve.places) == 1 else marker
    axes.plot(curve.places, curve.middle, linewidth=1.6, marker=marker, markersize=4, **style)
    if curve.deviation is not None:
        low, high = curve.middle - curve.deviation, curve.middle + curve.deviation
        axes.fill_between(curve.places, low, high, color=style["color"], alpha=0.2, linewidth=0)


def average_seeds(points: Sequence[Mapping[int, float]]) -> Curve:
    """One run as it is, or the mean of several over the stretch that all of them cover.

    points: place -> value, in order, per run. Between its points a run is a straight line. Values that are
    infinite or no numbers leave a gap.
    """
    places = [np.array(list(found), dtype=np.float64) for found in points]
    values = [np.array(list(found.values()), dtype=np.float64) for found in points]
    values = [np.where(np.isfinite(found), found, np.nan) for found in values]
    if len(points) == 1:
        return Curve(places[0], values[0], None)
    if any(not len(found) for found in places):
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    grid = np.unique(np.concatenate(places))
    first, last = max(found[0] for found in places), min(found[-1] for found in places)
    grid = grid[(grid >= first) & (grid <= last)]
    table = np.stack([np.interp(grid, x, y) for x, y in zip(places, values, strict=True)])
    return Curve(grid, table.mean(axis=0), table.std(axis=0, ddof=1))


def draw_closing(axes: Axes, group: Group, colour: str) -> None:
    """A star for each run's test sets at the epoch that was selected."""
    for run in group.runs:
        for point in [point for point in run.history.scores if point.split == CLOSING][-1:]:
            axes.plot([point.epoch], [point.r1], color=colour, **STAR)


def list_losses(run: Run) -> dict[int, float]:
    """Step -> mean loss of the steps since the place before.

    What a journal reports at an epoch's end may cover a step or two, the last of them with a smaller batch,
    and would stand out as a tooth: a point of less than half the usual steps joins the one before.
    """
    points = run.history.losses
    covers = [
        point.step - before for point, before in zip(points, [0, *(p.step for p in points)], strict=False)
    ]
    joined: list[tuple[int, int, float]] = []
    for point, steps in zip(points, covers, strict=True):
        loss, total = point.loss, steps
        if joined and 2 * steps < max(covers):
            _, before, value = joined.pop()
            total = before + steps
            loss = (value * before + point.loss * steps) / total
        joined.append((point.step, total, loss))
    return {step: loss for step, _, loss in joined}


def list_scores(run: Run) -> dict[int, float]:
    """Epoch -> R@1 of the evaluations that selected the epoch; a later one of the same epoch counts."""
    return {point.epoch: point.r1 for point in run.history.scores if point.split != CLOSING}


def list_splits(groups: Sequence[Group]) -> list[str]:
    """What the evaluations during training were made on."""
    found = {point.split for group in groups for run in group.runs for point in run.history.scores}
    return [name for split, name in SPLITS.items() if split in found]


def name_axes(axes: Axes, title: str, across: str, up: str) -> None:
    """Title, axis labels, whole numbers below, a faint grid."""
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if not any(np.size(line.get_xdata()) for line in axes.lines):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nothing yet", transform=axes.transAxes, ha="center", color="#555555")
