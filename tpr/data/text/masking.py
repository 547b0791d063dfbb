"""Masked words, drawn on the device by a hash of (seed, epoch, caption): ranks and splits do not matter."""

from typing import NamedTuple

import torch
from torch import Tensor

from tpr.data.samples.randomness import MASK_32, Purpose, draw_bits, hash_uniform
from tpr.data.text.tokenizer import Tokenizer


class MaskDraws(NamedTuple):
    """The random numbers behind the masked words of (T, L) captions."""

    selection: Tensor
    """(T, L) uniform in [0, 1): a word is selected where this is below its probability."""
    kind: Tensor
    """(T, L) int64 uniform on 0..9: a selected word becomes the mask below 8, a random word at 8."""
    words: Tensor
    """(T, L) int64 uniform on the tokenizer's words: the random ones."""


def mask_words(
    tokens: Tensor,
    probability: float | Tensor,
    *,
    caption_index: Tensor,
    seed: int,
    epoch: int,
    mask_at_least_one: bool = True,
    tokenizer: Tokenizer,
) -> tuple[Tensor, Tensor]:
    """Masked tokens and labels (the original id where a word was selected, else 0), both (T, L) int64.

    caption_index: (T,) int64, the key of the draws; the rest as in `apply_masks`.
    """
    draws = draw_masks(caption_index, tokens.shape[1], seed=seed, epoch=epoch, tokenizer=tokenizer)
    return apply_masks(tokens, probability, draws, mask_at_least_one=mask_at_least_one, tokenizer=tokenizer)


def draw_masks(
    caption_index: Tensor, length: int, *, seed: int, epoch: int, tokenizer: Tokenizer
) -> MaskDraws:
    """Draws for (T,) captions of `length` positions, on the device of `caption_index`."""
    selection = hash_uniform(seed, epoch, Purpose.MASK_SELECT, caption_index, length)
    # One draw decides twice: its first decimal digit what becomes of the word, the rest which random word.
    tenths = draw_bits(seed, epoch, Purpose.MASK_KIND, caption_index, length) * 10
    return MaskDraws(selection, tenths >> 32, tokenizer.draw_words(tenths & MASK_32))


def apply_masks(
    tokens: Tensor,
    probability: float | Tensor,
    draws: MaskDraws,
    *,
    mask_at_least_one: bool = True,
    tokenizer: Tokenizer,
) -> tuple[Tensor, Tensor]:
    """Masked tokens and labels (the original id where a word was selected, else 0), both (T, L) int64.

    tokens: (T, L) int64. probability: of a word to be selected; one number, or (T, L) one per token.
    Of the selected words 80 % become the mask, 10 % a random word, 10 % stay. A caption without a selected
    word gets position 1 masked when that is a word, unless `mask_at_least_one` is off; a caption without
    words is left alone. Nothing waits for the device.
    Source: IRRA's masking rules, `datasets/bases.py`. Differs: position 1 of an empty caption stays its end.
    """
    is_word = tokenizer.find_words(tokens)
    selected = is_word & (draws.selection < probability)
    becomes_mask = selected & (draws.kind < 8)
    becomes_random = selected & (draws.kind == 8)
    if mask_at_least_one:
        first = torch.zeros_like(is_word)
        first[:, 1] = ~selected.any(dim=1)
        first &= is_word
        selected = selected | first
        becomes_mask = becomes_mask | first
    masked = torch.where(becomes_random, draws.words, tokens.masked_fill(becomes_mask, tokenizer.mask))
    return masked, tokens * selected
