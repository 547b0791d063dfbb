"""Identity classification: each image and each caption names its person."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tpr.objectives.contrastive import compute_in_float32, widen


@compute_in_float32
def identity_loss(logits: Tensor, identity: Tensor, total: int | None = None) -> Tensor:
    """Cross entropy of (N, C) logits against (N,) identities, divided by `total` rows (default: N).

    A rank passes the rows of all ranks as `total` and gets its share. No label smoothing.
    """
    return F.cross_entropy(widen(logits), identity, reduction="sum") / (total or len(logits))


@torch.no_grad()
def count_right(logits: Tensor, identity: Tensor, total: int) -> Tensor:
    """This rank's share of the fraction of `total` rows whose highest logit is the identity's."""
    return (logits.argmax(dim=1) == identity).sum() / total
