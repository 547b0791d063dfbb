"""CLIP's two towers out of open_clip's modules: pooled and projected tokens, any size, stride and block.

Parameter names are OpenAI's (`visual.*`, `transformer.*`, ...), so published files map one to one. The
logit scale is not built: every objective here takes its scale as an argument.
"""

from dataclasses import dataclass

import open_clip.model
import torch
from torch import Tensor, nn

from tpr.data.images.chains import ImageChain, Interpolation, Statistics, name_chain
from tpr.data.text.tokenizer import Tokenizer
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.errors import ConfigError
from tpr.models.architecture import ClipArchitecture, Patch, find_architecture
from tpr.models.attention import run_blocks
from tpr.models.positions import resize_grid, resize_sequence
from tpr.models.text_tower import EncodedText, TextReader, project_early


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """A CLIP dual encoder: its sizes and where its weights come from."""

    architecture: str | ClipArchitecture = "ViT-B-16-quickgelu"
    """A ViT name of open_clip, or the sizes of a small CLIP given inline."""
    weights: str | None = None
    """A tag of open_clip such as openai, or a file: .pt, .bin or .safetensors; absent: random weights."""
    stride: Patch | None = None
    """Pixels between patches; absent: the patch size. A smaller one makes patches overlap."""
    interpolation: Interpolation = "bilinear"
    """Filter that resizes images; bilinear in IRRA's line, each antialiased."""
    statistics: Statistics = "clip"
    """Channel mean and deviation that images are normalised by."""

    @property
    def chain(self) -> ImageChain:
        """How the image tower takes images."""
        return name_chain(self.interpolation, self.statistics)

    def find_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches. Raises ConfigError for an unknown architecture."""
        patch = find_architecture(self.architecture).image.patch
        return count_patches(image_size, patch, self.stride or patch)

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes ids of captions."""
        return CLIP_TOKENIZER


class ClipTowers(TextReader):
    """Image and text tower with a joint space."""

    def __init__(self, options: ClipOptions, *, image_size: tuple[int, int], text_length: int) -> None:
        super().__init__()
        sizes = find_architecture(options.architecture)
        patch, stride = sizes.image.patch, options.stride or sizes.image.patch
        if min(image_size) < patch:
            raise ConfigError(f"data.image_size={list(image_size)} is smaller than a patch of {patch} pixels")
        clip = _build_clip(sizes, image_size, max(text_length, sizes.text.context))
        self.sizes = sizes
        self.grid = count_patches(image_size, patch, stride)
        self.visual = clip.visual
        self.visual.conv1.stride = (stride, stride)
        if stride != patch:
            rows = torch.randn(self.grid[0] * self.grid[1] + 1, sizes.image.width)
            self.visual.positional_embedding = nn.Parameter(rows * sizes.image.width**-0.5)
        self.adopt_text(clip)

    def encode_image(
        self,
        images: Tensor,
        *,
        every_token: bool = False,
        early: int | None = None,
        attention: bool = False,
        patches: Tensor | None = None,
    ) -> EncodedText:
        """Features of (B, 3, H, W) normalised images.

        every_token: also project all tokens, class token first, patches row by row.
        early: also return the projected tokens after this many blocks.
        attention: also return what the class token looks at in the last block.
        patches: (B, K) the patches that are read, from 0; absent: all of them.
        """
        cut = self.visual.conv1(images.to(self.visual.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        first = self.visual.class_embedding.expand(len(images), 1, -1)
        tokens = torch.cat([first, cut], dim=1) + self.visual.positional_embedding
        if patches is not None:
            places = torch.cat([torch.zeros_like(patches[:, :1]), patches + 1], dim=1)
            tokens = tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))
        asking = torch.zeros(len(images), dtype=torch.int64, device=images.device) if attention else None
        states = run_blocks(
            self.visual.transformer.resblocks, self.visual.ln_pre(tokens), keep=early, attention_of=asking
        )
        every = self._project_image(states.tokens) if every_token else None
        pooled = self._project_image(states.tokens[:, 0]) if every is None else every[:, 0]
        return EncodedText(pooled, every, project_early(self._project_image, states.kept), states.attention)

    def fit_weight(self, name: str, value: Tensor, grid: tuple[int, int] | None) -> tuple[Tensor, str] | None:
        """A stored position embedding brought to this model's positions, and how; None: nothing to bring.

        grid: rows and columns that a stored image grid has, where the file tells.
        """
        if name == "visual.positional_embedding":
            return resize_grid(value, self.grid, grid)
        if name == "positional_embedding":
            return resize_sequence(value, len(self.positional_embedding))
        return None

    def _project_image(self, tokens: Tensor) -> Tensor:
        return self.visual.ln_post(tokens) @ self.visual.proj  # type: ignore[no-any-return]


def count_patches(image_size: tuple[int, int], patch: int, stride: int) -> tuple[int, int]:
    """Rows and columns of patches."""
    return (image_size[0] - patch) // stride + 1, (image_size[1] - patch) // stride + 1


def _build_clip(sizes: ClipArchitecture, image_size: tuple[int, int], context: int) -> open_clip.model.CLIP:
    image, text = sizes.image, sizes.text
    return open_clip.model.CLIP(
        sizes.embed_dim,
        {
            "layers": image.layers,
            "width": image.width,
            "head_width": image.width // image.heads,
            "mlp_ratio": image.mlp_ratio,
            "patch_size": image.patch,
            "image_size": image_size,
        },
        {
            "context_length": context,
            "vocab_size": text.vocabulary,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
        },
        quick_gelu=sizes.quick_gelu,
    )
