"""Sizes of a small CLIP, read off the shapes in its fixture, so that another fixture can take its place."""

from collections.abc import Mapping, Sequence

import torch

from tpr.models.architecture import ClipArchitecture, read_architecture


def read_towers(shapes: Mapping[str, Sequence[int]]) -> ClipArchitecture:
    """The towers behind a fixture's `clip_shapes`."""
    state = {name: torch.empty(list(shape), device="meta") for name, shape in shapes.items()}
    return read_architecture(state, quick_gelu=True)


def describe_resize(shapes: Mapping[str, Sequence[int]], image_size: Sequence[int]) -> dict[str, str]:
    """What a report says of the image positions: a square grid stored, the images' own wanted."""
    side = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)
    height, width = (length // shapes["visual.conv1.weight"][-1] for length in image_size)
    told = f"{side}x{side} -> {height}x{width}"
    return {"base_model.visual.positional_embedding": told} if (height, width) != (side, side) else {}
