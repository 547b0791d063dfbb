"""Losses between all images and all captions of a step: ITC, SDM, CMPM.

With several processes a rank computes its own rows against the columns of all ranks and returns its share
of the loss: the sum over its rows divided by the rows of all ranks. No (B, B) matrix is ever built on one
rank, and no label matrix in floating point anywhere.

Letters: B images and T captions on this rank, I and J of them over all ranks, D width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_NORM = 1e-12
Labels = tuple[Tensor, Tensor]
Parameters = ParamSpec("Parameters")


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """The rows of all ranks, with gradient, and where this rank's rows stand among them."""

    image_features: Tensor
    """(I, D)."""
    text_features: Tensor
    """(J, D)."""
    identity: Tensor
    """(I,)."""
    text_identity: Tensor
    """(J,)."""
    image_start: int = 0
    """Position of this rank's first image."""
    text_start: int = 0
    """Position of this rank's first caption."""
    image_id: Tensor | None = None
    """(I,) image numbers, for SDM's soft labels."""
    text_image_id: Tensor | None = None
    """(J,) number of the image that each caption describes."""


def compute_in_float32(function: Callable[Parameters, Tensor]) -> Callable[Parameters, Tensor]:
    """Runs an objective outside autocast, so its products and exponentials keep float32 (or float64)."""

    @wraps(function)
    def run(*positional: Parameters.args, **named: Parameters.kwargs) -> Tensor:
        first = next(value for value in positional if isinstance(value, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            return function(*positional, **named)

    return run


def widen(values: Tensor) -> Tensor:
    """float64 stays, everything else becomes float32."""
    return values if values.dtype == torch.float64 else values.float()


def normalise(features: Tensor) -> Tensor:
    """(N, D) unit rows; a zero row stays zero, with a finite gradient."""
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / torch.where(norm > SMALLEST_NORM, norm, 1.0)


@compute_in_float32
def itc(
    image_features: Tensor,
    text_features: Tensor,
    scale: float | Tensor,
    *,
    owner: Tensor | None = None,
    gathered: Gathered | None = None,
) -> Tensor:
    """Image-text contrast: every caption finds its own image and every image its own captions.

    image_features (B, D), text_features (T, D), any length. scale: factor of the cosine.
    owner: (T,) row of the image that each caption describes, default: the same row. Returns a scalar, the
    mean of both directions; an image with several captions counts once per caption.
    Source: InfoNCE as in CLIP; IRRA `model/objectives.py`. Same identity in other rows is a negative.
    """
    everyone = gathered or _alone(image_features, text_features)
    rows = torch.arange(len(text_features), device=text_features.device)
    owner = rows if owner is None else owner
    images, texts = _unit(image_features), _unit(text_features)
    text_logits = scale * texts @ _unit(everyone.image_features).T
    to_image = F.cross_entropy(text_logits, owner + everyone.image_start, reduction="sum")
    image_logits = scale * images @ _unit(everyone.text_features).T
    chosen = F.log_softmax(image_logits, dim=1)[owner, rows + everyone.text_start]
    return (to_image - chosen.sum()) / (2 * len(everyone.text_features))


@compute_in_float32
def sdm(
    image_features: Tensor,
    text_features: Tensor,
    identity: Tensor,
    scale: float | Tensor,
    *,
    text_identity: Tensor | None = None,
    image_id: Tensor | None = None,
    text_image_id: Tensor | None = None,
    factor: float = 0.3,
    epsilon: float = 1e-8,
    gathered: Gathered | None = None,
) -> Tensor:
    """Similarity distribution matching: both retrieval directions follow the identity matches.

    image_features (B, D), text_features (T, D), any length; identity (B,), text_identity (T,), default:
    `identity`. scale: 1 / temperature. image_id, text_image_id: image numbers; given, a pair of one
    person but two images counts `factor` instead of 1. Returns a scalar, the sum of both directions.
    Source: IRRA, CVPR 2023, equation 6; `model/objectives.py`: the reverse divergence, epsilon inside the
    logarithm. Soft labels are divided by the sum of their column's row, as published.
    """
    text_identity = identity if text_identity is None else text_identity
    text_image_id = image_id if text_image_id is None else text_image_id
    everyone = gathered or Gathered(
        image_features=image_features,
        text_features=text_features,
        identity=identity,
        text_identity=text_identity,
        image_id=image_id,
        text_image_id=text_image_id,
    )
    text_target: Matches | SoftMatches
    image_target: Matches | SoftMatches
    if image_id is None or text_image_id is None:
        text_target = Matches(text_identity, everyone.identity, 1.0, epsilon)
        image_target = Matches(identity, everyone.text_identity, 1.0, epsilon)
    else:
        all_texts = (everyone.text_identity, _require(everyone.text_image_id))
        all_images = (everyone.identity, _require(everyone.image_id))
        text_target = SoftMatches((text_identity, text_image_id), all_images, all_texts, factor, epsilon)
        image_target = SoftMatches((identity, image_id), all_texts, all_images, factor, epsilon)
    images, texts = scale * _unit(image_features), scale * _unit(text_features)
    to_image = _diverge(texts, _unit(everyone.image_features), text_target)
    to_text = _diverge(images, _unit(everyone.text_features), image_target)
    return to_image / len(everyone.text_features) + to_text / len(everyone.image_features)


@compute_in_float32
def cmpm(
    image_features: Tensor,
    text_features: Tensor,
    identity: Tensor,
    *,
    text_identity: Tensor | None = None,
    epsilon: float = 1e-8,
    gathered: Gathered | None = None,
) -> Tensor:
    """Cross-modal projection matching: features projected on the other side's directions follow identity.

    Shapes as in `sdm`. No temperature: the length of the projected feature plays its part. Returns a
    scalar, the sum of both directions.
    Source: Zhang and Lu, ECCV 2018, as in IRRA's `model/objectives.py`: matches are divided by the square
    root of their number (the row's L2 norm), not by their number.
    """
    text_identity = identity if text_identity is None else text_identity
    everyone = gathered or Gathered(
        image_features=image_features,
        text_features=text_features,
        identity=identity,
        text_identity=text_identity,
    )
    text_target = Matches(text_identity, everyone.identity, 0.5, epsilon)
    image_target = Matches(identity, everyone.text_identity, 0.5, epsilon)
    to_image = _diverge(widen(text_features), _unit(everyone.image_features), text_target)
    to_text = _diverge(widen(image_features), _unit(everyone.text_features), image_target)
    return to_image / len(everyone.text_features) + to_text / len(everyone.image_features)


def _alone(image_features: Tensor, text_features: Tensor) -> Gathered:
    none = image_features.new_empty(0)
    return Gathered(
        image_features=image_features, text_features=text_features, identity=none, text_identity=none
    )


def _unit(features: Tensor) -> Tensor:
    return normalise(widen(features))


def _diverge(rows: Tensor, columns: Tensor, target: "Matches | SoftMatches") -> Tensor:
    """Sum over rows of KL(softmax(rows @ columns^T) || target)."""
    log_share = F.log_softmax(rows @ columns.T, dim=1)
    return (log_share.exp() * (log_share - target.find_logarithm(log_share.dtype))).sum()


@dataclass(frozen=True, eq=False)
class Matches:
    """Targets (matches of the row) ** -power + epsilon where identities agree, else epsilon."""

    rows: Tensor
    columns: Tensor
    power: float
    epsilon: float

    def find_logarithm(self, dtype: torch.dtype) -> Tensor:
        """(rows, columns) logarithm of the targets; only the comparison is as large."""
        match = self.rows[:, None] == self.columns
        count = match.sum(dim=1, keepdim=True).clamp(min=1).to(dtype)
        return torch.where(match, (count**-self.power + self.epsilon).log(), math.log(self.epsilon))


@dataclass(frozen=True, eq=False)
class SoftMatches:
    """The same for labels (Y - s) x factor + s, with Y same identity and s same image.

    The published division is by the label sum of the row that has the column's number; `others` are all
    items of the rows' side, and those sums are counted without building their rows.
    """

    rows: Labels
    columns: Labels
    others: Labels
    factor: float
    epsilon: float

    def find_logarithm(self, dtype: torch.dtype) -> Tensor:
        """(rows, columns) logarithm of the targets."""
        identity, image = (
            (row[:, None] == column).to(dtype) for row, column in zip(self.rows, self.columns, strict=True)
        )
        same_identity, same_image = (
            _count_equal(column, other).to(dtype)
            for column, other in zip(self.columns, self.others, strict=True)
        )
        label = (identity - image) * self.factor + image
        total = (same_identity - same_image) * self.factor + same_image
        return (label / total + self.epsilon).log()


def _count_equal(values: Tensor, among: Tensor) -> Tensor:
    """(N,) how often each value occurs in `among`."""
    ordered = among.sort().values
    return torch.searchsorted(ordered, values, right=True) - torch.searchsorted(ordered, values)


def _require(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError("soft labels need image_id and text_image_id in `gathered` as well")
    return values
