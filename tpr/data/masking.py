"""Masked words, drawn on the device by a hash of (seed, epoch, caption): ranks and splits do not matter."""

import torch
from torch import Tensor

from tpr.data.randomness import MASK_32, Purpose, hash_bits, hash_uniform, stream_key
from tpr.data.tokens import MASK, WORD_LIMIT


def mask_words(
    tokens: Tensor,
    probability: float | Tensor,
    *,
    caption_index: Tensor,
    seed: int,
    epoch: int,
    mask_at_least_one: bool = True,
) -> tuple[Tensor, Tensor]:
    """Masked tokens and labels (the original id where a word was selected, else 0), both (T, L) int64.

    tokens: (T, L) int64. probability: of a word to be selected; one number, or (T, L) one per token.
    caption_index: (T,) int64, the key of the draws. Of the selected words 80 % become the mask, 10 % a
    random word, 10 % stay. A caption without a selected word gets position 1 masked when that is a word,
    unless `mask_at_least_one` is off; a caption without words is left alone. Nothing waits for the device.
    Source: IRRA's masking rules, `datasets/bases.py`. Differs: position 1 of an empty caption stays its end.
    """
    length = tokens.shape[1]
    is_word = (tokens > 0) & (tokens < WORD_LIMIT)
    drawn = hash_uniform(seed, epoch, Purpose.MASK_SELECT, caption_index, length)
    selected = is_word & (drawn < probability)
    # One draw decides twice: its first decimal digit what becomes of the word, the rest which random word.
    tenths = hash_bits(stream_key(seed, epoch, Purpose.MASK_KIND), caption_index, length) * 10
    kind = tenths >> 32
    random_words = 1 + (((tenths & MASK_32) * (WORD_LIMIT - 1)) >> 32)
    becomes_mask = selected & (kind < 8)
    becomes_random = selected & (kind == 8)
    if mask_at_least_one:
        first = torch.zeros_like(is_word)
        first[:, 1] = ~selected.any(dim=1)
        first &= is_word
        selected = selected | first
        becomes_mask = becomes_mask | first
    masked = torch.where(becomes_random, random_words, tokens.masked_fill(becomes_mask, MASK))
    return masked, tokens * selected
