"""Position embeddings of another size, resized as IRRA does: bilinear, corners not aligned, no antialias."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_grid(
    value: Tensor, grid: tuple[int, int], source: tuple[int, int] | None
) -> tuple[Tensor, str] | None:
    """(1 + rows x columns, D) embedding of a class token and a grid of patches -> the same for `grid`.

    source: rows and columns of `value`; absent: guessed (see `guess_grid`). Returns the embedding and
    'RxC -> RxC', or None when nothing has to change.
    """
    patches = len(value) - 1
    if source is None or source[0] * source[1] != patches:
        source = guess_grid(patches, grid)
    if source == grid or patches < 1:
        return None
    planes = value[1:].float().reshape(1, *source, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(planes, size=grid, mode="bilinear", align_corners=False, antialias=False)
    rows = resized[0].flatten(1).T.to(value.dtype)
    return torch.cat([value[:1], rows]), f"{source[0]}x{source[1]} -> {grid[0]}x{grid[1]}"


def guess_grid(patches: int, target: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a stored grid of which only the number of patches is known.

    A square number is a square (every published CLIP); otherwise the shape nearest to the target's.
    """
    side = math.isqrt(patches)
    if side * side == patches:
        return side, side
    shapes = [(rows, patches // rows) for rows in range(1, patches + 1) if patches % rows == 0]
    wanted = math.log(target[0] / target[1])
    return min(shapes, key=lambda shape: abs(math.log(shape[0] / shape[1]) - wanted))


def resize_sequence(value: Tensor, length: int) -> tuple[Tensor, str] | None:
    """(L, D) text positions -> (length, D): first and last row stay, the inner ones are interpolated."""
    if len(value) == length or len(value) < 3 or length < 3:
        return None
    inner = F.interpolate(value[1:-1].float().T[None], size=length - 2, mode="linear", align_corners=False)
    rows = torch.cat([value[:1], inner[0].T.to(value.dtype), value[-1:]])
    return rows, f"{len(value)} -> {length}"
