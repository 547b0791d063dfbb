"""Augmented captions, drawn on the device by a hash of (seed, epoch, caption), whatever rank or batch."""

import torch
from torch import Tensor

from tpr.data.samples.randomness import Purpose, draw_bits
from tpr.data.text.tokenizer import Tokenizer

MASKED = 0.6
REPLACED = 0.2


def augment_captions(
    tokens: Tensor,
    share: float,
    *,
    caption_index: Tensor,
    seed: int,
    epoch: int,
    tokenizer: Tokenizer,
) -> Tensor:
    """(T, L) ids with `share` of the words changed (see `change_words`).

    caption_index: (T,) int64, the key of the draws. Nothing waits for the device.
    """
    bits = draw_bits(seed, epoch, Purpose.TEXT_AUGMENT, caption_index, 2 * tokens.shape[1])
    uniform = (bits[:, ::2] >> 8).float() * 2.0**-24
    return change_words(tokens, share, uniform, tokenizer.draw_words(bits[:, 1::2]), tokenizer=tokenizer)


def change_words(
    tokens: Tensor,
    share: float,
    uniform: Tensor,
    random_words: Tensor,
    *,
    tokenizer: Tokenizer,
) -> Tensor:
    """(T, L) ids with words changed as the draws say; start, end and padding stay.

    uniform: (T, L) in [0, 1): a word is changed below `share`; the first 60 % of that masks it, the next
    20 % replaces it by its entry in `random_words` (T, L), the last 20 % deletes it, and the rest of the
    caption moves up.
    Source: RDE, CVPR 2024, official `datasets/bases.py`.
    """
    is_word = tokenizer.find_words(tokens)
    kind = torch.where(is_word, uniform / max(share, 1e-9), 1.0)
    becomes_random = (kind >= MASKED) & (kind < MASKED + REPLACED)
    is_deleted = (kind >= MASKED + REPLACED) & (kind < 1)
    changed = torch.where(becomes_random, random_words, tokens.masked_fill(kind < MASKED, tokenizer.mask))
    order = torch.sort(is_deleted.byte(), dim=1, stable=True).indices
    return changed.masked_fill(is_deleted, tokenizer.pad).gather(1, order)
