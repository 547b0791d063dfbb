"""How well the words of a caption fit its image: looked at, never trained.

Letters: B images of P patches, T captions of L positions, D width of the joint space.
"""

import torch.nn.functional as F
from torch import Tensor

from tpr.objectives.contrastive import compute_in_float32, widen


@compute_in_float32
def compare_words(words: Tensor, patches: Tensor, owner: Tensor) -> Tensor:
    """(T, L) largest cosine of each text token with any patch of its image.

    words: (T, L, D) and patches: (B, P, D), of any length, the class token left out. owner: (T,) row of the
    image that each caption describes. Returns float32 (float64 where the tokens are).
    Source: MLLM4Text-ReID, CVPR 2024, equation 3.
    """
    unit_words, unit_patches = F.normalize(widen(words), dim=2), F.normalize(widen(patches), dim=2)
    return (unit_words @ unit_patches[owner].transpose(1, 2)).amax(dim=2)
