"""One loss value per pair of a caption and its image: TAL, TRL, InfoNCE or SDM, by choice.

Pairs can then be weighed, left out, or told apart by how badly they fit. A rank has the pairs of its own
captions; they are compared with the images and captions of all ranks.

Letters: B images and T captions on this rank, I and J of them over all ranks, D width.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tpr.objectives.contrastive import Gathered, Matches, compute_in_float32, normalise, widen
from tpr.objectives.triplet import tal_rows, trl_rows

PairLoss = Literal["tal", "trl", "infonce", "sdm"]
EPSILON = 1e-8


class PairLabels(NamedTuple):
    """Who is who on this rank."""

    identity: Tensor
    """(B,) of each image."""
    text_identity: Tensor
    """(T,) of each caption."""
    owner: Tensor
    """(T,) row of the image that each caption describes."""


@dataclass(frozen=True, kw_only=True)
class PairObjective:
    """One of the four losses with its settings."""

    loss: PairLoss
    tau: float
    """Temperature of TAL and TRL."""
    margin: float
    """Margin of TAL and TRL."""
    scale: float
    """Factor of the cosine in InfoNCE and SDM."""

    @property
    def is_mean(self) -> bool:
        """True for the losses that are published as a mean over pairs; the others are summed."""
        return self.loss in ("infonce", "sdm")

    def compare_rows(self, scores: Tensor, row_identity: Tensor, column_identity: Tensor) -> Tensor:
        """(R,) one direction of a loss over identities, for (R, C) cosines."""
        if self.loss == "tal":
            return tal_rows(scores, row_identity, column_identity, self.tau, self.margin)
        if self.loss == "trl":
            return trl_rows(scores, row_identity, column_identity, self.tau, self.margin)
        return sdm_rows(scores, row_identity, column_identity, self.scale)


@compute_in_float32
def loss_per_pair(
    image_features: Tensor,
    text_features: Tensor,
    labels: PairLabels,
    objective: PairObjective,
    gathered: Gathered | None = None,
) -> Tensor:
    """(T,) loss of every caption with its image; (B, D) and (T, D) features of any length.

    TAL, TRL and SDM add the two directions, InfoNCE is their mean and knows no identity, as published.
    Source: RDE, CVPR 2024; official code, folder `model`.
    """
    everyone = gathered or Gathered(
        image_features=image_features,
        text_features=text_features,
        identity=labels.identity,
        text_identity=labels.text_identity,
    )
    text_scores = normalise(widen(text_features)) @ normalise(widen(everyone.image_features)).T
    image_scores = normalise(widen(image_features)) @ normalise(widen(everyone.text_features)).T
    if objective.loss == "infonce":
        to_image = F.log_softmax(objective.scale * text_scores, dim=1)
        to_text = F.log_softmax(objective.scale * image_scores, dim=1)
        rows = torch.arange(len(labels.owner), device=labels.owner.device)
        chosen = to_image[rows, labels.owner + everyone.image_start]
        return -(chosen + to_text[labels.owner, rows + everyone.text_start]) / 2
    of_texts = objective.compare_rows(text_scores, labels.text_identity, everyone.identity)
    of_images = objective.compare_rows(image_scores, labels.identity, everyone.text_identity)
    return of_texts + of_images[labels.owner]


@compute_in_float32
def sdm_rows(scores: Tensor, row_identity: Tensor, column_identity: Tensor, scale: float) -> Tensor:
    """(R,) divergence of each row's softmax of scale x cosine from its identity matches, as in `sdm`."""
    log_share = F.log_softmax(scale * widen(scores), dim=1)
    target = Matches(row_identity, column_identity, 1.0, EPSILON)
    return (log_share.exp() * (log_share - target.find_logarithm(log_share.dtype))).sum(dim=1)
