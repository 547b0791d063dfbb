"""The statistics of a plan as one image: lengths, slots that are mentioned, openings."""

import io
from collections import Counter
from pathlib import Path

from matplotlib.figure import Figure

from tpr.captioning.statistics import Statistics
from tpr.captioning.texts import SLOTS
from tpr.errors import ConfigError
from tpr.report.curves import COLOURS
from tpr.whole_files import write_whole

SIZE = (13.0, 4.4)
DOTS_PER_INCH = 130
SHOWN_OPENINGS = 10


def draw_statistics(path: Path, found: dict[str, Statistics]) -> None:
    """Write the image whole. Raises ConfigError if it cannot be."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--image {path}: expected a name that ends in .png")
    figure = Figure(figsize=SIZE, layout="constrained")
    lengths, slots, openings = figure.subplots(1, 3)
    width = 0.8 / len(found)
    total: Counter[str] = Counter()
    for one in found.values():
        total.update(one.openings)
    first = [opening for opening, _ in total.most_common(SHOWN_OPENINGS)]
    for number, (kind, one) in enumerate(found.items()):
        colour = COLOURS[number % len(COLOURS)]
        words = sorted(one.lengths)
        lengths.plot(words, [100 * one.lengths[n] / one.captions for n in words], color=colour, label=kind)
        shift = (number - (len(found) - 1) / 2) * width
        places = [place + shift for place in range(len(SLOTS))]
        slots.bar(places, [100 * one.coverage(slot) for slot in SLOTS], width, color=colour, label=kind)
        rows = [place + shift for place in range(len(first))]
        shares = [100 * one.openings[opening] / one.captions for opening in first]
        openings.barh(rows, shares, width, color=colour, label=kind)
    lengths.set(xlabel="words", ylabel="% of captions", title="Length")
    slots.set(ylabel="% of captions", title="Mentions")
    slots.set_xticks(range(len(SLOTS)), SLOTS, rotation=20)
    openings.set(xlabel="% of captions", title="First words")
    openings.set_yticks(range(len(first)), first)
    openings.invert_yaxis()
    lengths.legend(frameon=False)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=DOTS_PER_INCH)
    write_whole(path, encoded.getvalue())
