"""Masked words: cross entropy at labelled positions only.

About one position in twenty is labelled, so the vocabulary-wide logits are computed for those rows alone.
How many there are is known on the device only; on a GPU the index is padded to a size that follows from
the masking rate, so that nothing waits for the device.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tpr.distributed import sum_over_ranks
from tpr.objectives.contrastive import compute_in_float32, widen

FAILURE = 1e-20


@dataclass(frozen=True)
class LabelledPositions:
    """Rows of a flattened (T, L) batch of captions that hold a word to guess, padded to a fixed number."""

    index: Tensor
    """(K,) positions in the flattened batch; labelled ones first, in order."""
    labels: Tensor
    """(K,) the words there; 0 in padding."""
    count: Tensor
    """Scalar int64: labelled positions of the batch, also those beyond K."""
    total: Tensor
    """Scalar int64: the same over all ranks, at least 1."""

    @classmethod
    def find(cls, labels: Tensor, *, rate: float = 1.0) -> "LabelledPositions":
        """The labelled positions of (T, L) labels, where 0 means: nothing to guess.

        rate: probability with which a position is labelled. On a CPU K is the exact number; elsewhere, and
        in compiled code, it is `bound_labelled`.
        """
        can_count = labels.device.type == "cpu" and not torch.compiler.is_compiling()
        return cls.pad(
            labels, int(labels.count_nonzero()) if can_count else bound_labelled(labels.shape, rate)
        )

    @classmethod
    def pad(cls, labels: Tensor, size: int) -> "LabelledPositions":
        """The first `size` positions of (T, L) labels when labelled ones are put first."""
        flat = labels.flatten()
        index = torch.sort((flat == 0).byte(), stable=True).indices[: max(size, 1)]
        count = flat.count_nonzero()
        return cls(index=index, labels=flat[index], count=count, total=sum_over_ranks(count).clamp(min=1))


def bound_labelled(shape: tuple[int, ...] | torch.Size, rate: float) -> int:
    """A number that labelled positions of (T, L) captions exceed with a probability below 1e-20.

    Start and end are never labelled, every other position independently with probability `rate`, and a
    caption without any gets one. Chernoff's bound: P(X >= k) <= exp(-n KL(k/n || rate)).
    """
    captions, length = shape
    eligible = captions * max(length - 2, 0)
    size = math.ceil(eligible * rate)
    while size < eligible and eligible * _divergence(size / eligible, rate) < -math.log(FAILURE):
        size += 1
    return min(size + captions, captions * length)


def _divergence(share: float, rate: float) -> float:
    """KL divergence of two coins; share >= rate, rate in (0, 1)."""
    if rate in (0.0, 1.0):
        return math.inf
    rest = (1 - share) * math.log((1 - share) / (1 - rate)) if share < 1 else 0.0
    return share * math.log(share / rate) + rest


@compute_in_float32
def masked_word_loss(logits: Tensor, positions: LabelledPositions) -> Tensor:
    """This rank's share of the mean cross entropy over the labelled positions of all ranks.

    logits: (K, V), of the rows `positions.index`. Zero, connected to the graph, where no rank has a label.
    Infinite where more positions are labelled than `positions` holds: the step is then refused instead of
    silently losing words.
    """
    labelled = positions.labels != 0
    each = F.cross_entropy(widen(logits), positions.labels, reduction="none")
    loss = torch.where(labelled, each, 0.0).sum() / positions.total
    return torch.where(positions.count > len(positions.index), math.inf, loss)


def masked_word_accuracy(logits: Tensor, positions: LabelledPositions) -> Tensor:
    """This rank's share of the fraction of labelled positions guessed right."""
    right = (logits.argmax(dim=1) == positions.labels) & (positions.labels != 0)
    return right.sum() / positions.total
