"""CLIP's causal text transformer: half of a dual encoder, or alone with an output of any width.

Parameter names are OpenAI's (`transformer.*`, `token_embedding.*`, ...), so published files map one to one.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn

from tpr.data.text.tokenizer import find_first
from tpr.models.architecture import TextArchitecture
from tpr.models.attention import run_blocks
from tpr.models.positions import resize_sequence

LENGTH_STEP = 8
COMPILED_LENGTHS = (0.5, 0.7)
"""Shares of all positions that compiled code is made for, and all of them."""


class EncodedText(NamedTuple):
    """One side's features in the joint space, none of them normalised."""

    pooled: Tensor
    """(B, D) class token, or end token of a caption."""
    tokens: Tensor | None
    """(B, N, D) all projected tokens, where they were asked for."""
    early: Tensor | None
    """(B, N, D) the same after an earlier block, without gradient, where it was asked for."""
    attention: Tensor | None
    """(B, N) attention of the class or end token in the last block, mean over heads, where asked for."""


class TextReader(nn.Module):
    """What a module can do that holds the parts of a text transformer; `adopt_text` gives them to it."""

    def adopt_text(self, source: "CLIP | TextTransformer") -> None:
        """Takes over open_clip's parts under OpenAI's names; a caption ends at the vocabulary's last id."""
        self.end_token = source.token_embedding.num_embeddings - 1
        self.transformer = source.transformer
        self.token_embedding = source.token_embedding
        self.positional_embedding = source.positional_embedding
        self.ln_final = source.ln_final
        self.text_projection = source.text_projection

    def encode_text(
        self,
        tokens: Tensor,
        *,
        length: int | None = None,
        every_token: bool = False,
        early: int | None = None,
        attention: bool = False,
    ) -> EncodedText:
        """Features of (B, L) token ids; the feature is that of the end token.

        length: positions to compute, at least the longest caption's. The tower is causal, so what follows
            a caption's end never changes its feature. Absent: all L for `every_token`, else as few as the
            captions need on a CPU, and all L elsewhere (finding out would wait for the device).
        every_token: also project all tokens.
        early: also return the projected tokens after this many blocks.
        attention: also return what the end token looks at in the last block.
        """
        end = find_first(tokens, self.end_token)
        if length is None:
            length = tokens.shape[1] if every_token or early or attention else find_text_length(tokens, end)
        states = run_blocks(
            self.transformer.resblocks,
            self._embed_words(tokens[:, :length]),
            causal=True,
            keep=early,
            attention_of=end if attention else None,
        )
        rows = torch.arange(len(tokens), device=tokens.device)
        every = self._project_text(states.tokens) if every_token else None
        pooled = self._project_text(states.tokens[rows, end]) if every is None else every[rows, end]
        return EncodedText(pooled, every, project_early(self._project_text, states.kept), states.attention)

    @torch.no_grad()
    def encode_text_early(self, tokens: Tensor, blocks: int, *, length: int | None = None) -> Tensor:
        """(B, L, D) projected tokens of (B, L) ids after the first `blocks` blocks alone; no gradient."""
        states = self._embed_words(tokens[:, : length or tokens.shape[1]])
        return self._project_text(run_blocks(self.transformer.resblocks[:blocks], states, causal=True).tokens)

    def _embed_words(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]  # type: ignore[no-any-return]

    def _project_text(self, tokens: Tensor) -> Tensor:
        return self.ln_final(tokens) @ self.text_projection  # type: ignore[no-any-return]


class TextTower(TextReader):
    """A text transformer whose output is as wide as another tower's."""

    def __init__(self, sizes: TextArchitecture, *, output: int, text_length: int, quick_gelu: bool) -> None:
        """output: columns of a caption's feature. text_length: positions, at least those of the sizes."""
        super().__init__()
        self.adopt_text(
            TextTransformer(
                context_length=max(text_length, sizes.context),
                vocab_size=sizes.vocabulary,
                width=sizes.width,
                heads=sizes.heads,
                layers=sizes.layers,
                output_dim=output,
                act_layer=QuickGELU if quick_gelu else nn.GELU,
            )
        )

    def fit_weight(self, name: str, value: Tensor, grid: tuple[int, int] | None) -> tuple[Tensor, str] | None:
        """Stored positions and a stored projection brought to this tower's size, and how; None: they fit."""
        if name == "positional_embedding":
            return resize_sequence(value, len(self.positional_embedding))
        if name == "text_projection" and value.shape[1] != self.text_projection.shape[1]:
            columns = self.text_projection.shape[1]
            return stretch_columns(value, columns), f"{value.shape[1]} -> {columns} columns"
        return None


def stretch_columns(value: Tensor, columns: int) -> Tensor:
    """(R, C) -> (R, columns) in float32, each row interpolated linearly and rounded to half precision.

    Source: TVI-LFM, NeurIPS 2024, official `network/clip_model/clip_model.py`: the joint space of CLIP RN50
    has half the columns of its image features. The new columns mean nothing until they are trained.
    """
    planes = value.float()[None, None]
    size = (len(value), columns)
    return F.interpolate(planes, size=size, mode="bilinear", align_corners=False)[0, 0].half().float()


@torch.no_grad()
def project_early(project: Callable[[Tensor], Tensor], kept: Tensor | None) -> Tensor | None:
    """Tokens of an earlier block in the joint space: they are looked at, never trained."""
    return None if kept is None else project(kept)


def find_text_length(tokens: Tensor, end: Tensor) -> int:
    """Positions that (B, L) captions need, rounded up to few values; all L where asking would wait.

    end: (B,) where each ends.
    """
    if tokens.device.type != "cpu" or not len(tokens):
        return tokens.shape[1]
    return round_length(int(end.max()) + 1, tokens.shape[1])


def round_length(longest: int, positions: int) -> int:
    """The next multiple of eight, within the positions there are: kernels then see few different shapes.

    Compiled code sees three at most, each a number that it was made for.
    """
    if not torch.compiler.is_compiling():
        return min(positions, _round_up(longest))
    for share in COMPILED_LENGTHS:
        length = min(positions, _round_up(math.ceil(share * positions)))
        if longest <= length:
            return length
    return positions


def _round_up(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP
