"""Token selection embedding: the tokens that the class or end token looks at most, embedded and pooled.

Source: RDE, CVPR 2024; official code, folder `model`. The official layers hold a linear layer and
a norm that are never used; they are not built.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpr.data.text.tokenizer import Tokenizer

SMALLEST_NORM = 1e-8


class SelectedWords(NamedTuple):
    """Positions in captions, the most looked at first."""

    positions: Tensor
    """(B, K)."""
    is_pooled: Tensor
    """(B, K) False where the caption has fewer words than are chosen."""


def select_patches(attention: Tensor, count: int) -> Tensor:
    """(B, count) positions of the patches with most attention; (B, 1 + P) attention, class token first."""
    return attention[:, 1:].topk(count, dim=1).indices + 1


def select_words(attention: Tensor, tokens: Tensor, count: int, *, tokenizer: Tokenizer) -> SelectedWords:
    """The words with most attention; (B, L) attention of the end token, (B, L) ids. K = min(count, L).

    Start and end are never chosen. Padding follows the words and is not pooled.
    Differs: padding follows in order of position (officially in no promised order), and a caption without
    words pools its end token (officially that row and all later ones are NaN). So what is pooled does not
    depend on how much padding there is.
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    is_end = places == tokenizer.find_ends(tokens)[:, None]
    is_word = (tokens != tokenizer.pad) & (places > 0) & ~is_end
    words = is_word.sum(dim=1, keepdim=True)
    value = torch.where(is_word, attention, (-1 - places).to(attention.dtype))
    value = value.masked_fill((places == 0) | is_end, -torch.inf)
    value = value.masked_fill(is_end & (words == 0), 1.0)
    positions = value.topk(min(count, tokens.shape[1]), dim=1).indices
    return SelectedWords(positions, places[: positions.shape[1]] < words.clamp(min=1))


class TokenSelection(nn.Module):
    """(B, N, D) tokens, of which K are chosen -> (B, output), the largest of their embeddings per column."""

    def __init__(self, width: int, output: int, *, is_frozen: bool) -> None:
        """is_frozen: the norm keeps its running statistics, in training as well."""
        super().__init__()
        self.output = output
        self.is_frozen = is_frozen
        self.shortcut = nn.Linear(width, output)
        self.enter = nn.Linear(width, output // 2)
        self.norm = nn.BatchNorm1d(output // 2)
        self.leave = nn.Linear(output // 2, output)

    def forward(self, tokens: Tensor, positions: Tensor, is_pooled: Tensor | None = None) -> Tensor:
        """tokens: (B, N, D). positions: (B, K), the selected ones. is_pooled: (B, K), default: all."""
        chosen = tokens.gather(1, positions[:, :, None].expand(-1, -1, tokens.shape[2])).flatten(0, 1)
        chosen = chosen if chosen.dtype == torch.float64 else chosen.float()
        rows = chosen / (torch.linalg.vector_norm(chosen, dim=1, keepdim=True) + SMALLEST_NORM)
        embedded = self.leave(F.relu(self._normalise(self.enter(rows)))) + self.shortcut(rows)
        embedded = embedded.view(*positions.shape, self.output)
        if is_pooled is not None:
            embedded = embedded.masked_fill(~is_pooled[:, :, None], -torch.inf)
        largest: Tensor = embedded.amax(dim=1)
        return largest

    def _normalise(self, rows: Tensor) -> Tensor:
        norm = self.norm
        # A process may have no row of a short last batch; only the synchronised norm can cope with that.
        is_too_few = len(rows) < 2 and not isinstance(norm, nn.SyncBatchNorm)
        if self.training and not self.is_frozen and not is_too_few:
            normalised: Tensor = norm(rows)
            return normalised
        return F.batch_norm(
            rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
        )
