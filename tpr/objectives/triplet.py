"""Triplet losses over whole rows: TAL and TRL of scores, and the weighted triplet of distances.

A row of scores is one caption against all images, or one image against all captions, and has a value of
its own; a row of distances is one feature against all. With several processes a rank compares its own rows
with the columns of all ranks.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tpr.objectives.contrastive import compute_in_float32, widen

SMALLEST_SQUARE = 1e-12
SMALLEST_SUM = 1e-6
TripletForm = Literal["exact", "published"]


def tal(scores: Tensor, identity: Tensor, tau: float, margin: float) -> Tensor:
    """Triplet alignment loss of every pair: a log-sum-exp over all its negatives instead of the hardest.

    scores: (B, B) cosines, captions x images, pair i on the diagonal. identity: (B,). Returns (B,), the
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


@compute_in_float32
def weighted_triplet(
    features: Tensor,
    identity: Tensor,
    form: TripletForm = "exact",
    *,
    all_features: Tensor | None = None,
    all_identity: Tensor | None = None,
) -> Tensor:
    """Weighted regularised triplet: far matches and near strangers count most, and no margin is set.

    features (R, D), any length; identity (R,). all_features (N, D), all_identity (N,): the rows of all
    ranks, with gradient; absent: the same rows. Returns a scalar: the sum over rows of
    softplus(weighted distance to matches - weighted distance to others), divided by N.
    form: exact weighs by softmaxes among matches and among others, and a row without others adds nothing.
    published divides by a sum with 1e-6 added and shifts the others by 0, so that they lose all weight once
    they are farther than about 14, and matches are pulled with nothing to hold against it.
    Source: AGW, TPAMI 2021; TVI-LFM, NeurIPS 2024, official `tools/loss.py`.
    Differs: softplus in place of log(1 + exp x), which is infinite in float32 above 88.7.
    """
    columns = widen(features if all_features is None else all_features)
    owners = identity if all_identity is None else all_identity
    distance = _measure(widen(features), columns)
    match = identity[:, None] == owners
    weigh = _weigh_exactly if form == "exact" else _weigh_as_published
    farther = (weigh(distance, match) * distance).sum(dim=1)
    nearer = (weigh(-distance, ~match) * distance).sum(dim=1)
    each = F.softplus(farther - nearer)
    if form == "exact":
        each = torch.where(match.all(dim=1), 0.0, each)
    return each.sum() / len(columns)


def _measure(rows: Tensor, columns: Tensor) -> Tensor:
    """(R, N) Euclidean distances; at least 1e-6, where the square root still has a slope."""
    squares = rows.square().sum(dim=1, keepdim=True) + columns.square().sum(dim=1)
    return (squares - 2 * rows @ columns.T).clamp(min=SMALLEST_SQUARE).sqrt()


def _weigh_exactly(values: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the masked entries of each row; a row without any keeps all, so that it has a gradient."""
    hidden = ~mask & mask.any(dim=1, keepdim=True)
    return values.masked_fill(hidden, -torch.inf).softmax(dim=1)


def _weigh_as_published(values: Tensor, mask: Tensor) -> Tensor:
    """The same shifted by the largest of all entries with those outside the mask taken for 0."""
    shift = (values * mask).amax(dim=1, keepdim=True)
    shares = (values.masked_fill(~mask, -torch.inf) - shift).exp()
    return shares / (shares.sum(dim=1, keepdim=True) + SMALLEST_SUM)
