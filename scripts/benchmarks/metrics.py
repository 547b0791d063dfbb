"""Features -> R@1, R@5, R@10, mAP, mINP: sorting the whole gallery against exact ranks by counting."""

import torch
from torch import Tensor

from benchmarks.inputs import draw_features, draw_tied_features
from benchmarks.process_memory import MEBIBYTE, peak_growth
from benchmarks.reference.oracle import rank_by_oracle
from benchmarks.reference.ranking import rank_by_argsort
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.evaluation import retrieval_metrics

MEMORY_LIMIT = 64
"""MiB that one evaluation may take beyond the features."""

Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def run(quick: bool) -> Report:
    """CUHK-PEDES' and ICFG-PEDES' test sizes, width 512; `quick` shrinks both."""
    report = Report("metrics", f"512 values a row, float32, {torch.get_num_threads()} threads")
    sizes = ((1024, 768, 256), (2048, 2048, 102)) if quick else ((6148, 3074, 1000), (19848, 19848, 1000))
    for queries, gallery, identities in sizes:
        problem = draw_features(queries, gallery, identities)
        label = f"{queries:,} x {gallery:,}"
        retrieval_metrics(*draw_features(256, 256, 64))
        _check_memory(report, label, problem)
        timing = interleave(
            lambda problem=problem: rank_by_argsort(*problem),
            lambda problem=problem: retrieval_metrics(*problem),
            rounds=3 if quick else 5,
            warm=queries < 10_000,
        )
        report.cases.append(Case(label, timing, goal=None if quick else 7))
        _check_scores(report, label, problem)
        _check_ties(report, label, problem)
    return report


def scores_of(problem: Problem) -> list[float]:
    """The project's five numbers."""
    metrics = retrieval_metrics(*problem)
    return [float(value) for value in (metrics.r1, metrics.r5, metrics.r10, metrics.map, metrics.minp)]


def _check_memory(report: Report, label: str, problem: Problem) -> None:
    growth = peak_growth(lambda: retrieval_metrics(*problem)) / MEBIBYTE
    report.check_limit(f"{label}: extra memory", growth, MEMORY_LIMIT, "MiB")
    if len(problem[0]) < 10_000:
        report.facts[f"{label}: extra memory of side A, MiB"] = (
            peak_growth(lambda: rank_by_argsort(*problem)) / MEBIBYTE
        )


def _check_scores(report: Report, label: str, problem: Problem) -> None:
    """Distinct scores: the two may differ where float32 rounds two neighbours into another order."""
    ours, published = scores_of(problem), rank_by_argsort(*problem)
    difference = max(abs(a - b) for a, b in zip(ours, published, strict=True))
    report.check(
        f"{label}: equals the argsort way up to one query's place",
        difference <= 100 / len(problem[0]) + 1e-3,
        f"R@1 {ours[0]:.3f} and {published[0]:.3f}, mAP {ours[3]:.4f} and {published[3]:.4f}",
    )


def _check_ties(report: Report, label: str, problem: Problem) -> None:
    """Scores that are exact in float32 and tie by the thousand must equal the stable float64 order."""
    queries, gallery = (
        draw_tied_features(len(problem[0]), seed=2),
        draw_tied_features(len(problem[1]), seed=3),
    )
    tied = (queries, gallery, *problem[2:])
    ours, oracle = scores_of(tied), rank_by_oracle(*tied)
    difference = max(abs(a - b) for a, b in zip(ours, oracle, strict=True))
    report.check(
        f"{label}: ties equal the stable float64 oracle",
        difference <= 1e-9,
        f"largest difference {difference:.1e}",
    )
