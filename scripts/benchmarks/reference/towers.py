"""CLIP as the published code builds it: sequence first, LayerNorm through float32, three-kernel QuickGELU.

Parameter names are OpenAI's, so that weights of either side fit the other.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

VOCABULARY = 49408


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes of both towers; the defaults are ViT-B/16 at 384 x 128."""

    image_size: tuple[int, int] = (384, 128)
    patch: int = 16
    image_width: int = 768
    image_layers: int = 12
    text_width: int = 512
    text_layers: int = 12
    embedding: int = 512
    text_length: int = 77

    @property
    def patches(self) -> int:
        """Patches of one image."""
        return (self.image_size[0] // self.patch) * (self.image_size[1] // self.patch)


class CastLayerNorm(nn.LayerNorm):
    """LayerNorm in float32 whatever comes in."""

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and type as the input."""
        return super().forward(input.type(torch.float32)).type(input.dtype)


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Pre-norm residual block on (L, B, D)."""

    def __init__(self, width: int, heads: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = CastLayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, width * 4), gelu=QuickGelu(), c_proj=nn.Linear(width * 4, width)
            )
        )
        self.ln_2 = CastLayerNorm(width)
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        """(L, B, D) to the same shape."""
        mask = self.mask.to(dtype=x.dtype, device=x.device) if self.mask is not None else None
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks in a row."""

    def __init__(self, width: int, layers: int, heads: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, mask) for _ in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        """(L, B, D) to the same shape."""
        return self.resblocks(x)


class ImageTower(nn.Module):
    """Images -> every token, normalised and projected, (B, 1 + P, D)."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        width = sizes.image_width
        self.conv1 = nn.Conv2d(3, width, sizes.patch, sizes.patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(sizes.patches + 1, width))
        self.ln_pre = CastLayerNorm(width)
        self.transformer = Transformer(width, sizes.image_layers, width // 64)
        self.ln_post = CastLayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, sizes.embedding))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 1 + P, D)."""
        x = self.conv1(images.to(self.conv1.weight.dtype))
        x = x.reshape(x.shape[0], x.shape[1], -1).permute(0, 2, 1)
        first = self.class_embedding.to(x.dtype) + torch.zeros(
            x.shape[0], 1, x.shape[-1], dtype=x.dtype, device=x.device
        )
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding.to(x.dtype))
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        return self.ln_post(x) @ self.proj


class Clip(nn.Module):
    """Both towers with every token projected."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.visual = ImageTower(sizes)
        mask = torch.full((sizes.text_length, sizes.text_length), float("-inf")).triu_(1)
        self.transformer = Transformer(sizes.text_width, sizes.text_layers, sizes.text_width // 64, mask)
        self.token_embedding = nn.Embedding(VOCABULARY, sizes.text_width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(sizes.text_length, sizes.text_width))
        self.ln_final = CastLayerNorm(sizes.text_width)
        self.text_projection = nn.Parameter(
            sizes.text_width**-0.5 * torch.randn(sizes.text_width, sizes.embedding)
        )
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_text(self, ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, L, D)."""
        kind = self.text_projection.dtype
        x = self.token_embedding(ids).to(kind) + self.positional_embedding.to(kind)
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        return self.ln_final(x) @ self.text_projection

    def forward(self, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Every token of both sides."""
        return self.visual(images), self.encode_text(ids)
