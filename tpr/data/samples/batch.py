"""Every tensor name that a training or evaluation batch may hold, with shape and type.

Letters: B training samples on this rank, T captions on this rank (T = B x captions per sample),
L token positions. A wrong key is found by mypy; nothing is checked at run time.
"""

from typing import TypedDict

from torch import Tensor


class Batch(TypedDict, total=False):
    """One batch of one rank; names are the contract between loader and systems."""

    images: Tensor
    """(B, 3, H, W). uint8 from the workers; float32 and normalised once it is on the device."""
    plain_images: Tensor
    """(B, 3, H, W) the same images, resized only: neither mirrored, moved nor erased."""
    second_images: Tensor
    """(B, 3, H, W) another augmented view of the visible images; `images` is the first."""
    infrared_images: Tensor
    """(B, 3, H, W) infrared images of the same people, row for row."""
    tokens: Tensor
    """(T, L) int64 token ids, padded as the tokenizer does."""
    infrared_tokens: Tensor
    """(B, L) int64 token ids of the infrared images' captions, row for row."""
    identity: Tensor
    """(B,) int64 identity of each image; 0..C-1 in training."""
    text_identity: Tensor
    """(T,) int64 identity of each caption."""
    owner: Tensor
    """(T,) int64 row in `images` that each caption describes."""
    sample_index: Tensor
    """(B,) int64 number of the training sample (pair or image, by `data.unit`): the key of all randomness."""
    image_index: Tensor
    """(B,) int64 row of the corpus table."""
    infrared_index: Tensor
    """(B,) int64 row of the corpus table of each infrared image."""
    caption_index: Tensor
    """(T,) int64 running number of the caption in the corpus: the key of per-caption tables."""
    attributes: Tensor
    """(B, A) int64 attribute labels, -1 unknown."""
    global_size: int
    """Training samples of this step over all ranks."""
    longest_caption: int
    """Token positions that this rank's longest caption fills; text may be cut there where that is exact."""
    longest_infrared_caption: int
    """Token positions that the longest infrared caption of this rank fills."""
