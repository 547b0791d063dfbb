"""RDE against IRRA on the drawn CUHK-PEDES with half of its training captions exchanged.

Both start from one pre-trained drawn checkpoint; IRRA is the drawn fine-tuning recipe as it is. Reported are
R@1 on the test set over three seeds, and how well RDE's division finds the pairs that kept their caption.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from prettytable import PrettyTable

from benchmarks.drawn_runs import read_r1, spread, train_drawn
from benchmarks.report import Report
from tpr.config.schema import Experiment
from tpr.data.samples.noise import find_noise
from tpr.data.samples.sample_table import SampleTable
from tpr.data.tables.corpora import load_corpora
from tpr.drawn.world import draw_world
from tpr.engine.checkpoint import read_checkpoint_file

SETS = ("luperson_mllm", "cuhk_pedes", "icfg_pedes", "rstpreid")
NOISE = "data.noise.rate=0.5"
RECIPES = {"IRRA": "finetune.yaml", "RDE": "rde.yaml"}


def run(quick: bool) -> Report:
    """The drawn recipes as they are over three seeds; `quick` takes a small world, one seed, two epochs."""
    seeds, few = ((1,), ["schedule.epochs=2"]) if quick else ((1, 2, 3), [])
    report = Report("rde", f"drawn CUHK-PEDES, {NOISE}, seeds {seeds}")
    table = PrettyTable(["system", "R@1", "single seeds"], align="l")
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_world(folder / "data", identities=20 if quick else None, sets=SETS)
        _, start = train_drawn("pretrain.yaml", folder, few)
        for system, recipe in RECIPES.items():
            scores = []
            for seed in seeds:
                words = [f"init.checkpoint={start / 'best.pt'}", f"seed={seed}", NOISE, *few]
                experiment, out = train_drawn(recipe, folder, words)
                scores.append(read_r1(out))
                if system == "RDE":
                    found.append(measure_division(experiment, out))
            table.add_row([system, spread(scores), ", ".join(f"{score:.2f}" for score in scores)])
    report.tables.append(str(table.get_string()))
    for what, values in zip(("precision", "recall"), zip(*found, strict=True), strict=True):
        report.facts[f"{what} of clean pairs, last division"] = spread(values, digits=3)
    report.check("every division marks some pairs clean", all(min(pair) > 0 for pair in found), found)
    return report


def measure_division(experiment: Experiment, out: Path) -> tuple[float, float]:
    """Precision and recall of the pairs that the last division of a run took for clean."""
    corpus = load_corpora(experiment.data, experiment.evaluation, experiment.seed).train
    assert corpus is not None
    noise = find_noise(experiment.data.noise, corpus)
    assert noise is not None
    is_clean = noise == np.arange(len(noise))
    marks = SampleTable(len(noise), 1, storage="uint8")
    marks.load(read_checkpoint_file(out / "last.pt")["tables"]["clean_marks"], torch.device("cpu"))
    taken = marks.read(torch.arange(len(noise)))[:, 0].numpy() != 0
    right = float((taken & is_clean).sum())
    return right / max(1, int(taken.sum())), right / int(is_clean.sum())
