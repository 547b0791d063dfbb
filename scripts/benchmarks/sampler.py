"""One epoch's order of P identities x K images: Python lists against whole arrays."""

import random
import time

import numpy as np
import numpy.typing as npt

from benchmarks.reference.identity_sampler import IdentitySampler as PublishedSampler
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.data.samples.samplers import IdentitySampler

BATCH, PER_IDENTITY = 64, 4
Labels = npt.NDArray[np.int64]


def run(quick: bool) -> Report:
    """11,000 identities as CUHK-PEDES has; at full size also 50,000, and a million for the project alone."""
    report = Report(
        "sampler", f"{BATCH // PER_IDENTITY} identities x {PER_IDENTITY}, two to ten samples an identity"
    )
    for identities in (2_000,) if quick else (11_000, 50_000):
        labels = draw_labels(identities)
        random.seed(1)
        np.random.seed(1)
        published = PublishedSampler(labels.tolist(), BATCH, PER_IDENTITY)
        ours = IdentitySampler(labels, BATCH, PER_IDENTITY, seed=1)
        timing = interleave(
            published.draw_epoch, lambda ours=ours: ours.order(1), rounds=5, warm=identities < 50_000
        )
        goal = 20 if identities == 11_000 else None
        report.cases.append(Case(f"{identities:,} identities", timing, goal, len(labels)))
        _check_order(report, labels, ours, len(published.draw_epoch()) // BATCH)
    if not quick:
        labels = draw_labels(1_000_000)
        start = time.perf_counter()
        IdentitySampler(labels, BATCH, PER_IDENTITY, seed=1).order(1)
        report.facts["1,000,000 identities, set-up and first epoch, s (goal: under 2)"] = (
            time.perf_counter() - start
        )
    return report


def draw_labels(identities: int) -> Labels:
    """Shuffled labels, two to ten of each identity."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(identities, dtype=np.int64), generator.integers(2, 11, identities))
    return generator.permutation(labels)


def _check_order(report: Report, labels: Labels, sampler: IdentitySampler, published_steps: int) -> None:
    """What the published sampler promises of its batches, and that two epochs differ."""
    order = sampler.order(1)
    owners = labels[order].reshape(-1, BATCH // PER_IDENTITY, PER_IDENTITY)
    distinct = (np.diff(np.sort(owners[:, :, 0], axis=1), axis=1) > 0).all()
    report.check(
        "every step has P distinct identities, K of each",
        distinct and (owners == owners[:, :, :1]).all(),
        "all",
    )
    enough = np.bincount(labels)[labels[order]] >= PER_IDENTITY
    repeated = np.bincount(order[enough]).max()
    report.check("identities with K samples or more repeat none", repeated == 1, f"{repeated} times at most")
    steps = len(order) // BATCH
    found = f"{steps:,} and {published_steps:,}"
    report.check(
        "as many steps as published or more", len(order) % BATCH == 0 and steps >= published_steps, found
    )
    same = np.array_equal(order, sampler.order(1))
    report.check(
        "an epoch's order is its own", same and not np.array_equal(order, sampler.order(2)), "repeatable"
    )
