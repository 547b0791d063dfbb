"""Which patches of an image the image tower reads in a step that reads only some of them."""

import torch
from torch import Tensor

from tpr.data.samples.randomness import Purpose, draw_bits


def draw_patches(sample_index: Tensor, patches: int, share: float, *, seed: int, epoch: int) -> Tensor:
    """(B, K) patches from 0 in ascending order, K = share x patches rounded, at least one.

    sample_index: (B,) int64, the key of the draws. Every set of K patches is as likely.
    Source: FLIP (Li et al., CVPR 2023), random masking of the image tower's input without a decoder.
    """
    kept = max(1, round(share * patches))
    bits = draw_bits(seed, epoch, Purpose.PATCHES, sample_index, patches)
    return torch.sort(torch.sort(bits, dim=1, stable=True).indices[:, :kept], dim=1).values
