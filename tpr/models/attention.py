"""Attention and transformer blocks over open_clip's weights, through torch's fused kernel.

open_clip's blocks hold the parameters; the arithmetic is here because `nn.MultiheadAttention` passes the
causal mask as numbers, which keeps the flash kernel away, and takes another path in evaluation.
"""

from collections.abc import Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    attention: nn.MultiheadAttention, query: Tensor, memory: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """(B, L, D) multi-head attention of `query` over `memory` ((B, M, D), default: itself), no padding mask.

    causal: position i sees positions 0..i only.
    """
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if memory is None:
        parts = F.linear(query, weight, bias).chunk(3, dim=-1)
    else:
        width = attention.embed_dim
        asked = F.linear(query, weight[:width], bias[:width])
        parts = (asked, *F.linear(memory, weight[width:], bias[width:]).chunk(2, dim=-1))
    asking, keys, values = (_split_heads(part, attention.num_heads) for part in parts)
    mixed = F.scaled_dot_product_attention(asking, keys, values, is_causal=causal)
    return F.linear(mixed.transpose(1, 2).flatten(2), attention.out_proj.weight, attention.out_proj.bias)


def _split_heads(part: Tensor, heads: int) -> Tensor:
    batch, length, width = part.shape
    return part.view(batch, length, heads, width // heads).transpose(1, 2)


def run_blocks(
    blocks: Iterable[Any], tokens: Tensor, *, causal: bool = False, keep: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Runs open_clip's residual blocks over (B, L, D) tokens.

    keep: number of blocks after which the tokens are returned as well (the second value).
    """
    kept = None
    for number, block in enumerate(blocks, start=1):
        tokens = tokens + block.ls_1(attend(block.attn, block.ln_1(tokens), causal=causal))
        tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
        if number == keep:
            kept = tokens
    return tokens, kept
