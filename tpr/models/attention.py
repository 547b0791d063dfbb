"""Attention and transformer blocks over open_clip's weights, through torch's fused kernel.

open_clip's blocks hold the parameters; the arithmetic is here because `nn.MultiheadAttention` passes the
causal mask as numbers, which keeps the flash kernel away, and takes another path in evaluation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    attention: nn.MultiheadAttention,
    query: Tensor,
    memory: Tensor | None = None,
    *,
    causal: bool = False,
    visible: Tensor | None = None,
) -> Tensor:
    """(B, L, D) multi-head attention of `query` over `memory` ((B, M, D), default: itself).

    causal: position i sees positions 0..i only. visible: (B, M) True at positions that are seen; absent: all.
    """
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if memory is None:
        parts = F.linear(query, weight, bias).chunk(3, dim=-1)
    else:
        width = attention.embed_dim
        asked = F.linear(query, weight[:width], bias[:width])
        parts = (asked, *F.linear(memory, weight[width:], bias[width:]).chunk(2, dim=-1))
    asking, keys, values = (_split_heads(part, attention.num_heads) for part in parts)
    mask = None if visible is None else visible[:, None, None]
    mixed = F.scaled_dot_product_attention(asking, keys, values, attn_mask=mask, is_causal=causal)
    return F.linear(mixed.transpose(1, 2).flatten(2), attention.out_proj.weight, attention.out_proj.bias)


def _split_heads(part: Tensor, heads: int) -> Tensor:
    batch, length, width = part.shape
    return part.view(batch, length, heads, width // heads).transpose(1, 2)


@torch.no_grad()
def find_attention(
    attention: nn.MultiheadAttention, tokens: Tensor, place: Tensor, *, causal: bool = False
) -> Tensor:
    """(B, L) attention that position `place` (B,) of each row pays to every position, mean over the heads.

    One row alone: asking a block for whole maps would keep the fused kernel away. Without gradient.
    """
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    rows = torch.arange(len(tokens), device=tokens.device)
    asking = F.linear(tokens[rows, place], weight[:width], bias[:width])
    keys = F.linear(tokens, weight[width : 2 * width], bias[width : 2 * width])
    asking = asking.view(len(tokens), heads, 1, width // heads)
    scores = (asking @ _split_heads(keys, heads).transpose(2, 3)).squeeze(2) * (width // heads) ** -0.5
    if causal:
        later = torch.arange(tokens.shape[1], device=tokens.device) > place[:, None]
        scores = scores.masked_fill(later[:, None], -torch.inf)
    wide = scores if scores.dtype == torch.float64 else scores.float()
    shares: Tensor = wide.softmax(dim=2).mean(dim=1)
    return shares


class BlockStates(NamedTuple):
    """What a run through blocks gives."""

    tokens: Tensor
    """(B, L, D) after the last block."""
    kept: Tensor | None
    """(B, L, D) after an earlier one, where asked for."""
    attention: Tensor | None
    """(B, L) attention of one position in the last block, where asked for."""


def run_blocks(
    blocks: Sequence[nn.Module],
    tokens: Tensor,
    *,
    causal: bool = False,
    visible: Tensor | None = None,
    keep: int | None = None,
    attention_of: Tensor | None = None,
) -> BlockStates:
    """Runs open_clip's residual blocks over (B, L, D) tokens.

    causal, visible: as in `attend`. keep: number of blocks after which the tokens are returned as well.
    attention_of: (B,) a position in each row, whose attention in the last block is returned as well (see
    `find_attention`).
    """
    kept = attention = None
    for number, block in enumerate(blocks, start=1):
        entering = block.ln_1(tokens)  # type: ignore[operator]
        if attention_of is not None and number == len(blocks):
            attention = find_attention(block.attn, entering, attention_of, causal=causal)  # type: ignore[arg-type]
        tokens = tokens + block.ls_1(attend(block.attn, entering, causal=causal, visible=visible))  # type: ignore[operator, arg-type]
        tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))  # type: ignore[operator]
        if number == keep:
            kept = tokens
    return BlockStates(tokens, kept, attention)
