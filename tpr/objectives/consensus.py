"""Confident consensus division: which training pairs are clean, by the losses of two embeddings.

Each embedding's losses are a mixture of a low component (clean pairs) and a high one (pairs whose caption
describes somebody else). Where both agree the pair is marked so; where they do not, a coin decides.
Source: RDE, CVPR 2024; official `processor/processor.py`.
"""

import logging
import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr import distributed
from tpr.config.ranges import Count, NotNegative, Positive, Whole
from tpr.data.samples.randomness import Purpose, hash_uniform
from tpr.data.samples.sample_table import SampleTable

logger = logging.getLogger(__name__)

Numbers = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]
LEAST_NOISY = 100
"""Where every pair looks clean, one in this number is called noisy all the same."""


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """How exactly the two components are fitted; the defaults are the published ones for little noise."""

    iterations: Count = 10
    """Most rounds of expectation and maximisation."""
    tolerance: NotNegative = 1e-2
    """Gain of the mean log-likelihood below which fitting ends."""
    added_variance: Positive = 5e-4
    """Added to each component's variance."""


@dataclass(frozen=True, kw_only=True)
class DivisionOptions:
    """How training pairs are divided into clean and noisy ones before an epoch."""

    warmup_epochs: Whole = 0
    """Epochs at the beginning that take every pair for clean; as many as all epochs: no division."""
    augment: bool = True
    """Measure images and captions as they are augmented for training, as published, or as they are."""
    reuse_losses: bool = False
    """Divide by the losses that the steps of the last epoch met, instead of an extra pass."""
    mixture: MixtureOptions = field(default_factory=MixtureOptions)
    """How the two components are fitted."""


class Division:
    """The losses that were measured last, and what they say about each training caption's pair."""

    def __init__(self, options: DivisionOptions, captions: int) -> None:
        self.options = options
        self.losses = SampleTable(captions, 2, storage="float32")
        """(captions, 2) of the two embeddings."""
        self.marks = SampleTable(captions, 1, storage="uint8")
        """(captions, 1) 1 is clean, 0 is noisy."""

    def read_marks(self, captions: Tensor) -> Tensor:
        """(T,) True for clean pairs, and for all before the first division."""
        marks: Tensor = self.marks.read(captions)[:, 0] != 0  # never written is NaN, and so True
        return marks

    def divide(self, seed: int, epoch: int, device: torch.device) -> None:
        """Mark every pair for this epoch; the main rank decides for all."""
        captions = torch.arange(self.losses.shape[0], device=device)
        losses = self.losses.read(captions).double().cpu().numpy()
        draws = hash_uniform(seed, epoch, Purpose.DIVISION, captions, 1)[:, 0] < 0.5
        clean = None
        if distributed.is_main_rank():
            clean = find_clean(losses, self.options.mixture, draws.cpu().numpy())
            counts = f"{clean.sum():,}", f"{len(clean):,}"
            logger.info("epoch %d: %s of %s pairs are taken for clean", epoch, *counts)
        clean = distributed.share_object(clean)
        self.marks.fill(torch.from_numpy(clean).to(device, torch.float32)[:, None])


class Mixture(NamedTuple):
    """Two Gaussians over losses brought to [0, 1], the lower mean first."""

    means: Numbers
    """(2,)."""
    variances: Numbers
    """(2,)."""
    weights: Numbers
    """(2,)."""
    probability: Numbers
    """(N,) that a loss is of the lower component."""


def find_clean(losses: Numbers, options: MixtureOptions, draws: Marks) -> Marks:
    """(N,) True for clean pairs.

    losses: (N, 2) of the two embeddings, NaN for a pair that was never measured, which counts as clean.
    draws: (N,) the coins of pairs on which the embeddings disagree.
    """
    clean = np.ones(len(losses), dtype=bool)
    measured = np.isfinite(losses).all(axis=1)
    if measured.any():
        one, two = (vote(losses[measured, side], options) for side in (0, 1))
        clean[measured] = settle(one, two, draws[measured])
    return clean


def settle(one: Marks, two: Marks, draws: Marks) -> Marks:
    """(N,) where both votes agree, their vote; elsewhere the draw."""
    return np.where(one == two, one, draws)


def vote(losses: Numbers, options: MixtureOptions) -> Marks:
    """(N,) True for the pairs that one embedding judges clean; all, where all losses are the same."""
    if losses.min() == losses.max():
        return np.ones(len(losses), dtype=bool)
    return mark_clean(fit_mixture(losses, options).probability)


def mark_clean(probability: Numbers) -> Marks:
    """(N,) True above one half; where all are, the least likely per cent and one more are noisy."""
    marks = probability > 0.5
    if marks.all():
        marks = probability > np.sort(probability)[len(probability) // LEAST_NOISY]
    return marks


def fit_mixture(losses: Numbers, options: MixtureOptions) -> Mixture:
    """The mixture of (N,) losses that are not all the same.

    Differs: fitting starts from the best division into two groups of least variance, which is what the
    official start (k-means with random seeds) looks for; the result never depends on a draw.
    """
    from sklearn.exceptions import ConvergenceWarning  # takes a second to import
    from sklearn.mixture import GaussianMixture

    values = (losses - losses.min()) / (losses.max() - losses.min())
    start = cut_in_two(values)
    mixture = GaussianMixture(
        2,
        max_iter=options.iterations,
        tol=options.tolerance,
        reg_covar=options.added_variance,
        init_params="random",  # replaced by the three below
        weights_init=start.weights,
        means_init=start.means[:, None],
        precisions_init=1 / (start.variances + options.added_variance)[:, None, None],
        random_state=0,
    )
    with warnings.catch_warnings():
        # Few rounds are meant to end before they converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values[:, None])
    order = np.argsort(mixture.means_[:, 0])
    return Mixture(
        mixture.means_[order, 0],
        mixture.covariances_[order, 0, 0],
        mixture.weights_[order],
        mixture.predict_proba(values[:, None])[:, order[0]],
    )


def cut_in_two(values: Numbers) -> Mixture:
    """The cut of (N,) values, N at least 2, that leaves the least variance within both parts."""
    ordered = np.sort(values)
    sizes = np.arange(1, len(ordered))
    lower = np.cumsum(ordered)[:-1]
    upper = ordered.sum() - lower
    cut = 1 + int(np.argmax(lower**2 / sizes + upper**2 / (len(ordered) - sizes)))
    parts = (ordered[:cut], ordered[cut:])
    return Mixture(
        np.array([part.mean() for part in parts]),
        np.array([part.var() for part in parts]),
        np.array([len(part) / len(ordered) for part in parts]),
        (values <= ordered[cut - 1]).astype(np.float64),
    )
