"""Noise-aware masking on the drawn LUPerson-MLLM, which knows its wrong words.

Two questions: does the noise level tell wrong words from right ones (area under the ROC curve), and does
masking by it help direct transfer (R@1 for no, equal and noise-aware masking over three seeds)? There is no
goal: towers trained from nothing for minutes hardly relate words to patches.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prettytable import PrettyTable
from sklearn.metrics import roc_auc_score

from benchmarks.drawn_runs import read_r1, spread, train_drawn
from benchmarks.report import Report
from tpr.config.schema import Experiment
from tpr.data.samples.sample_table import SampleTable
from tpr.data.tables.corpora import load_corpora
from tpr.data.tables.corpus import Corpus
from tpr.data.text.tokens import load_word_pieces
from tpr.drawn.world import draw_world
from tpr.engine.checkpoint import read_checkpoint_file

CONFIG = "mllm4text.yaml"
SETS = ("luperson_mllm", "cuhk_pedes", "icfg_pedes", "rstpreid")
MASKING = ("none", "equal", "noise_aware")
LARGER_TOWER = (
    "{embed_dim: 128, image: {width: 192, layers: 6, heads: 3}, text: {width: 192, layers: 4, heads: 3}, "
    "quick_gelu: false}"
)

Areas = tuple[float, float]
"""Of the noise level as it is, and of its difference from the caption's mean, which decides the masking."""


def run(quick: bool) -> Report:
    """Eight epochs on the drawn world per run; `quick` takes a small world, one seed and two epochs."""
    identities, seeds, epochs = (20, (1,), 2) if quick else (110, (1, 2, 3), 8)
    report = Report("nam", f"{CONFIG}, {identities} test identities, {epochs} epochs, seeds {seeds}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_world(folder / "data", identities=identities, seed=1, sets=SETS)
        scores: dict[str, list[float]] = {}
        areas: list[Areas] = []
        for masking in MASKING:
            for seed in seeds:
                words = [f"system.masking={masking}", f"seed={seed}", f"schedule.epochs={epochs}"]
                experiment, out = train_drawn(CONFIG, folder, words)
                scores.setdefault(masking, []).append(read_r1(out))
                if masking == "noise_aware":
                    areas.append(measure_areas(experiment, out))
        report.tables.append(_tabulate(scores))
        _add_areas(report, "", areas)
        if not quick:
            _look_further(report, folder, epochs)
    report.check("every run ends with finite scores", all(map(np.isfinite, sum(scores.values(), []))), scores)
    return report


def _look_further(report: Report, folder: Path, epochs: int) -> None:
    """What twice the epochs, and what wider and deeper towers change, each with one seed."""
    longer = [f"schedule.epochs={2 * epochs}"]
    larger = [f"model.architecture={LARGER_TOWER}", f"schedule.epochs={epochs}"]
    for label, words in ((f", {2 * epochs} epochs", longer), (", larger towers", larger)):
        experiment, out = train_drawn(CONFIG, folder, words)
        _add_areas(report, label, [measure_areas(experiment, out)])
        report.facts[f"mean R@1 of direct transfer{label}"] = read_r1(out)


def _add_areas(report: Report, label: str, areas: Sequence[Areas]) -> None:
    for what, values in zip(
        ("noise level", "noise against the caption's mean"), zip(*areas, strict=True), strict=True
    ):
        report.facts[f"ROC area of wrong words by {what}{label}"] = spread(values, digits=3)


def measure_areas(experiment: Experiment, out: Path) -> Areas:
    """How well the scores that a run ended with tell wrong attribute words from right ones."""
    corpus = load_corpora(experiment.data, experiment.evaluation, experiment.seed).train
    assert corpus is not None
    table = SampleTable(
        corpus.caption_count,
        experiment.data.text_length,
        storage=experiment.system.options.nam.storage,
    )
    table.load(read_checkpoint_file(out / "last.pt")["tables"]["scores"], torch.device("cpu"))
    noise = 1 - table.read(torch.arange(corpus.caption_count)).numpy()
    raw: list[float] = []
    centred: list[float] = []
    wrong: list[bool] = []
    for index, marks, places in _find_words(corpus):
        row = noise[index]
        if np.isnan(row[1]):
            continue
        levels = [float(row[start:end].mean()) for start, end in places]
        mean = float(row[1 : places[-1][1]].mean())
        for word in marks["attribute_words"]:
            raw.append(levels[word])
            centred.append(levels[word] - mean)
            wrong.append(word in marks["wrong_words"])
    return float(roc_auc_score(wrong, raw)), float(roc_auc_score(wrong, centred))


def _find_words(corpus: Corpus) -> Any:
    """Captions that the adapter kept as they were drawn: number, marks, and token places of each word."""
    truth = json.loads((corpus.root / "LUPerson-MLLM" / "truth.json").read_text())["captions"]
    files = {
        name: json.loads((corpus.root / "LUPerson-MLLM" / "captions" / f"{name}.json").read_text())
        for name in truth
    }
    encode = load_word_pieces().encode
    for row in range(len(corpus)):
        image = corpus.image_path(row).rpartition("/")[2]
        known = {texts[image]: truth[name][image] for name, texts in files.items()}
        for number, text in enumerate(corpus.captions(row)):
            marks = known.get(text)
            if marks is None or marks["defect"] or not marks["attribute_words"]:
                continue
            ends = 1 + np.cumsum([len(encode(word)) for word in text.split()])
            if ends[-1] + 1 <= 77:
                places = list(zip([1, *ends[:-1]], ends, strict=True))
                yield int(corpus.caption_offsets[row]) + number, marks, places


def _tabulate(scores: dict[str, list[float]]) -> str:
    table = PrettyTable(["masking", "mean R@1 of direct transfer", "single seeds"], align="l")
    for masking, values in scores.items():
        table.add_row([masking, spread(values), ", ".join(f"{value:.2f}" for value in values)])
    return str(table.get_string())
