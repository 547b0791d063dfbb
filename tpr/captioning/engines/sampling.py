"""Sampling with a seed per request of a batch, so that a text does not depend on its neighbours."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class SeededSampling:
    """A logits processor that leaves a greedy search one token per row, selected by the row's number.

    The library draws a whole batch from one generator, where a row's draw depends on its place. Here each
    row has a sequence of numbers from its seed alone, one per token. Use an object for one call of generate.
    """

    def __init__(self, seeds: Sequence[int], *, length: int, temperature: float, top_p: float) -> None:
        numbers = np.stack([np.random.Generator(np.random.PCG64(seed)).random(length) for seed in seeds])
        self.numbers = torch.from_numpy(numbers)
        self.temperature = temperature
        self.top_p = top_p
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: (B, V) logits. Returns zero at the token that was drawn and minus infinity elsewhere."""
        number = self.numbers[:, self.step, None].to(scores.device)
        self.step += 1
        token = draw_tokens(scores / self.temperature, number, self.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


def draw_tokens(logits: Tensor, number: Tensor, top_p: float) -> Tensor:
    """Tokens by inverted distribution function among the likeliest that together reach `top_p`.

    logits: (B, V). number: (B, 1), uniform in [0, 1), float64. Returns (B, 1) token ids.
    """
    ordered, token = logits.float().sort(descending=True, stable=True)
    reached = ordered.double().softmax(-1).cumsum(-1)
    kept = (reached[:, :-1] < top_p).sum(-1, keepdim=True)  # index of the last kept token
    place = (reached <= number * reached.gather(1, kept)).sum(-1, keepdim=True)
    return token.gather(1, torch.minimum(place, kept))
