"""Heads on top of the towers: identity classifier, cross-modal transformer, masked-word head."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from open_clip.transformer import LayerNorm, QuickGELU, Transformer
from torch import Tensor, nn

from tpr.models.architecture import count_heads
from tpr.models.attention import attend, run_blocks


def build_classifier(width: int, identities: int) -> nn.Linear:
    """(…, width) -> (…, identities) logits, without bottleneck; weights are drawn with deviation 0.001."""
    classifier = nn.Linear(width, identities)
    nn.init.normal_(classifier.weight, std=0.001)
    nn.init.zeros_(classifier.bias)
    return classifier


class NeckHead(nn.Module):
    """A norm whose output is what retrieval compares, and a classifier without bias behind it."""

    def __init__(self, width: int, identities: int | None) -> None:
        """identities: absent where none are classified."""
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        if identities is not None:
            self.classifier = nn.Linear(width, identities, bias=False)
            nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C) logits of (N, D) features."""
        logits: Tensor = self.classifier(self.norm(features))
        return logits


def build_cross_attention(width: int, depth: int) -> nn.MultiheadAttention:
    """Words asking image tokens; `depth`, of the transformer behind it, sets the initial scale."""
    attention = nn.MultiheadAttention(width, count_heads(width), batch_first=True)
    _draw_attention(attention, width, depth)
    return attention


def build_cross_transformer(width: int, depth: int) -> Transformer:
    """`depth` CLIP blocks, initialised as IRRA does."""
    transformer = Transformer(width, depth, count_heads(width), act_layer=QuickGELU)
    for block in transformer.resblocks:
        _draw_attention(block.attn, width, depth)
        nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(block.mlp.c_proj.weight, std=_residual_deviation(width, depth))
    return transformer


def build_norm(width: int) -> LayerNorm:
    """CLIP's layer norm."""
    return LayerNorm(width)


def build_word_head(width: int, depth: int, vocabulary: int) -> nn.Sequential:
    """(…, width) -> (…, vocabulary) logits of masked words; not tied to the embedding."""
    dense, output = nn.Linear(width, width), nn.Linear(width, vocabulary)
    nn.init.normal_(dense.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(output.weight, std=_residual_deviation(width, depth))
    return nn.Sequential(OrderedDict(dense=dense, gelu=QuickGELU(), ln=LayerNorm(width), fc=output))


def relate_words(
    attention: nn.MultiheadAttention,
    blocks: Sequence[nn.Module],
    words: Tensor,
    image_tokens: Tensor,
    *,
    present: Tensor | None = None,
) -> Tensor:
    """(T, L, D) words after they looked at (T, M, D) image tokens and at one another.

    As published there is no residual around the cross attention. present: (T, L) True at positions that
    others may look at; absent, as published: all, so positions behind the end token take part and their
    number belongs to the result.
    """
    return run_blocks(blocks, attend(attention, words, image_tokens), visible=present).tokens


def _residual_deviation(width: int, depth: int) -> float:
    return float(width**-0.5 * (2 * depth) ** -0.5)


@torch.no_grad()
def _draw_attention(attention: nn.MultiheadAttention, width: int, depth: int) -> None:
    nn.init.normal_(attention.in_proj_weight, std=width**-0.5)
    nn.init.normal_(attention.out_proj.weight, std=_residual_deviation(width, depth))
