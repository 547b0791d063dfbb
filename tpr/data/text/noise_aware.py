"""Noise-aware masking: how likely each word is to be masked, from how well it fits the image.

A word that no patch resembles is probably not in the image: its noise is 1 - similarity, and all words of
a caption share a mean rate by it. Everything is a function of one caption's row, on the device of its
tensors, and nothing waits for them.

Letters: T captions, L positions.
"""

import torch
from torch import Tensor

from tpr.data.text.tokenizer import Tokenizer


def find_probability(
    similarity: Tensor,
    tokens: Tensor,
    rate: float,
    *,
    renormalise: bool = True,
    tokenizer: Tokenizer,
) -> Tensor:
    """(T, L) float64 probabilities of words to be masked, 0 elsewhere; `rate` where a row is not known.

    similarity: (T, L) of every word to its image, NaN throughout a row that is not known. tokens: (T, L).
    renormalise: the mean over a caption's words is `rate` after clipping; otherwise before it, as published,
        where clipped words move the mean.
    Source: MLLM4Text-ReID, CVPR 2024, equation 4; official `datasets/bases.py`, whose clipping to [0, 1] the
    paper does not have. Differs by default: the mean is kept.
    """
    is_word = tokenizer.find_words(tokens)
    noise = torch.where(is_word, 1 - similarity.double(), 0.0)
    if renormalise:
        shift = find_shift(noise, is_word, rate)
    else:
        shift = rate - noise.sum(dim=1) / is_word.sum(dim=1).clamp(min=1)
    shifted = (noise + shift[:, None]).clamp(0, 1)
    return torch.where(is_word, torch.where(shifted.isnan(), rate, shifted), 0.0)


def find_shift(noise: Tensor, is_word: Tensor, rate: float) -> Tensor:
    """(T,) c for which the mean of clip(noise + c, 0, 1) over a row's words is exactly `rate`, in (0, 1).

    noise: (T, L), finite or NaN for a whole row. As a function of c the sum over words is made of straight
    pieces: a word begins to rise at -noise and stops at 1 - noise. The pieces are walked in order until the
    sum is reached; where a flat piece has just that sum, its left end is taken.
    """
    corners = torch.cat([-noise, 1 - noise], dim=1)
    steps = torch.cat([is_word, is_word], dim=1).to(noise.dtype)
    steps[:, noise.shape[1] :] *= -1
    corners, order = corners.sort(dim=1)
    slope = steps.gather(1, order).cumsum(dim=1)
    risen = (slope[:, :-1] * corners.diff(dim=1)).cumsum(dim=1)
    reached = torch.cat([torch.zeros_like(risen[:, :1]), risen], dim=1)
    wanted = rate * is_word.sum(dim=1, keepdim=True).to(noise.dtype)
    piece = ((reached < wanted).sum(dim=1, keepdim=True) - 1).clamp(min=0)
    corner, height, rise = (values.gather(1, piece) for values in (corners, reached, slope))
    return (corner + (wanted - height) / rise.clamp(min=1)).squeeze(1)


def average_over_words(similarity: Tensor, tokens: Tensor, *, tokenizer: Tokenizer) -> Tensor:
    """(T, L) similarities in which all pieces of a word have the mean of theirs; other ids keep their own."""
    is_word = tokenizer.find_words(tokens)
    is_end = (tokenizer.find_word_ends(tokens) & is_word).long()
    number = is_end.cumsum(dim=1) - is_end
    shared = (number[:, :, None] == number[:, None, :]) & is_word[:, :, None] & is_word[:, None, :]
    weight = shared.to(similarity.dtype)
    mean = (weight @ torch.where(is_word, similarity, 0.0)[:, :, None]).squeeze(2)
    return torch.where(is_word, mean / weight.sum(dim=2).clamp(min=1), similarity)
