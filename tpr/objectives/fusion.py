"""Losses between infrared images, texts and what they are fused to; none is part of a published recipe.

With several processes a rank compares its own rows with the columns of all ranks, as everywhere.
"""

import torch.nn.functional as F
from torch import Tensor

from tpr.objectives.contrastive import compute_in_float32, normalise, widen


@compute_in_float32
def orthogonality(features: Tensor, differences: Tensor, all_differences: Tensor | None = None) -> Tensor:
    """Mean absolute cosine between (B, D) features and (I, D) differences, default: of the same rows.

    Source: TVI-LFM, NeurIPS 2024, official option `orth`; its `orth2` is the sum instead of the mean.
    """
    columns = differences if all_differences is None else all_differences
    cosines = normalise(widen(features)) @ normalise(widen(columns)).T
    return cosines.abs().sum() / len(columns) ** 2


@compute_in_float32
def follow_scores(
    features: Tensor, leaders: Tensor, columns: Tensor, scale: float, total: int | None = None
) -> Tensor:
    """Soft cross entropy: (B, D) features score (I, D) columns as (B, D) leaders do, which are not moved.

    scale: factor of the cosines. total: rows of all ranks, default: B. Returns a scalar.
    Source: TVI-LFM, NeurIPS 2024, official options `T2I_Regular` and `I2T_Regular`.
    """
    unit = normalise(widen(columns))
    wanted = (scale * normalise(widen(leaders)) @ unit.T).softmax(dim=1).detach()
    found = F.log_softmax(scale * normalise(widen(features)) @ unit.T, dim=1)
    return -(wanted * found).sum() / (total or len(features))
