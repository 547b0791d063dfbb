"""Distances -> R@k, mAP and mINP by the rules of three sets: a Python step per query against whole blocks."""

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.reference.visible_infrared import evaluate_by_query
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.evaluation import visible_infrared_metrics
from tpr.evaluation.protocols.visible_infrared import Rules, VisibleInfrared

Labels = npt.NDArray[np.int64]
Trial = tuple[npt.NDArray[np.float64], Labels, Labels, Labels, Labels]

SIZES: dict[Rules, tuple[int, int, int]] = {
    "sysu": (3803, 96, 10),
    "llcm": (7166, 351, 10),
    "regdb": (2060, 206, 1),
}
"""Queries, people, trials."""
QUICK_SIZES: dict[Rules, tuple[int, int, int]] = {
    "sysu": (900, 24, 2),
    "llcm": (900, 80, 2),
    "regdb": (500, 50, 1),
}


def run(quick: bool) -> Report:
    """The published sizes; `quick` takes fewer people and two trials."""
    report = Report("visible_infrared", f"float64 distances, {torch.get_num_threads()} threads")
    for protocol, (queries, people, trials) in (QUICK_SIZES if quick else SIZES).items():
        drawn = [draw_trial(protocol, queries, people, seed) for seed in range(trials)]
        timing = interleave(
            lambda drawn=drawn, protocol=protocol: measure_by_query(drawn, protocol),
            lambda drawn=drawn, protocol=protocol: measure_in_blocks(drawn, protocol),
            rounds=3,
        )
        label = f"{protocol}, {queries:,} x {len(drawn[0][2]):,}, {trials} trials"
        report.cases.append(Case(label, timing, goal=None if quick or protocol == "regdb" else 10))
        published, ours = measure_by_query(drawn, protocol), measure_in_blocks(drawn, protocol)
        difference = np.abs(np.subtract(published, ours)).max()
        report.check(f"{label}: equal", difference < 1e-9, f"largest difference {difference:.1e}")
    return report


def measure_by_query(trials: list[Trial], protocol: Rules) -> list[list[float]]:
    """The published loop's numbers of every trial."""
    return [evaluate_by_query(*trial, protocol) for trial in trials]


def measure_in_blocks(trials: list[Trial], protocol: Rules) -> list[list[float]]:
    """The project's numbers of every trial."""
    found = [visible_infrared_metrics(*trial, protocol) for trial in trials]
    return [[getattr(metrics, name) for name in VisibleInfrared.measures] for metrics in found]


def draw_trial(protocol: Rules, queries: int, people: int, seed: int) -> Trial:
    """Distances of noisy points around people, with cameras as the set has them.

    People are seen by two to four visible cameras, as in SYSU-MM01 (301 images of 96) and about as in LLCM.
    """
    random = np.random.default_rng(seed)
    cameras = (1, 2, 4, 5) if protocol == "sysu" else tuple(range(1, 10))
    gallery = []
    for person in range(people):
        count = 10 if protocol == "regdb" else int(random.integers(2, 5))
        gallery += [(person, int(c)) for c in random.choice(cameras, count, replace=protocol == "regdb")]
    gallery_identity, gallery_camera = (np.array(column) for column in zip(*gallery, strict=True))
    query_identity = random.integers(0, people, queries)
    query_camera = random.choice((3, 6) if protocol == "sysu" else range(1, 10), queries)
    centres = random.standard_normal((people, 16))
    owners = (query_identity, gallery_identity)
    sides = [centres[own] + random.standard_normal((len(own), 16)) for own in owners]
    query, found = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    return -query @ found.T, query_identity, gallery_identity, query_camera, gallery_camera
