"""Triplet losses over whole rows of scores: TAL and TRL, one value per pair and nothing averaged.

A row is one caption against all pictures, or one picture against all captions. With several processes a
rank compares its own rows with the columns of all ranks (`tal_rows`, `trl_rows`).
"""

import torch
from torch import Tensor

from tpr.objectives.contrastive import compute_in_float32, widen


def tal(scores: Tensor, identity: Tensor, tau: float, margin: float) -> Tensor:
    """Triplet alignment loss of every pair: a log-sum-exp over all its negatives instead of the hardest.

    scores: (B, B) cosines, captions x pictures, pair i on the diagonal. identity: (B,). Returns (B,), the
    sum of both directions, float32.
    Source: RDE, CVPR 2024; official code, folder `model`.
    Differs: the sum of exponentials is not cut off at 1e36, and a row without a negative (one identity
    alone) has a gradient of zero where the official code has NaN.
    """
    return tal_rows(scores, identity, identity, tau, margin) + tal_rows(
        scores.T, identity, identity, tau, margin
    )


def trl(scores: Tensor, identity: Tensor, tau: float, margin: float) -> Tensor:
    """Triplet ranking loss of every pair, with its hardest negative; shapes and source as `tal`."""
    return trl_rows(scores, identity, identity, tau, margin) + trl_rows(
        scores.T, identity, identity, tau, margin
    )


@compute_in_float32
def tal_rows(
    scores: Tensor, row_identity: Tensor, column_identity: Tensor, tau: float, margin: float
) -> Tensor:
    """(R,) one direction of TAL for (R, C) scores; (R,) and (C,) identities, each row has a match."""
    scores = widen(scores)
    match = row_identity[:, None] == column_identity
    has_negative = ~match.all(dim=1)
    # A row of matches alone keeps its scores: an empty log-sum-exp would have no gradient to speak of.
    logits = (scores / tau).masked_fill(match & has_negative[:, None], -torch.inf)
    excess = margin - _attract(scores, match, tau) + tau * logits.logsumexp(dim=1)
    return torch.where(has_negative, excess.clamp(min=0), 0.0)


@compute_in_float32
def trl_rows(
    scores: Tensor, row_identity: Tensor, column_identity: Tensor, tau: float, margin: float
) -> Tensor:
    """(R,) one direction of TRL; shapes as `tal_rows`.

    As published the hardest negative is sought in a matrix whose matches are zero, so a negative below zero
    never counts, and a row without a negative is compared with zero.
    """
    scores = widen(scores)
    match = row_identity[:, None] == column_identity
    hardest = scores.masked_fill(match, 0.0).amax(dim=1)
    return (margin - _attract(scores, match, tau) + hardest).clamp(min=0)


def _attract(scores: Tensor, match: Tensor, tau: float) -> Tensor:
    """(R,) score of each row's matches, weighted by their own softmax, which has no gradient."""
    weights = (scores / tau).masked_fill(~match, -torch.inf).softmax(dim=1).detach()
    return (weights * scores).sum(dim=1)
