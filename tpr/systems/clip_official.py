"""Published files with CLIP's towers: IRRA's layout, bare files of OpenAI, open_clip and Hugging Face."""

import math
from collections.abc import Mapping

from torch import Tensor

from tpr.config.schema import Choice, DataOptions
from tpr.models.architecture import read_architecture
from tpr.models.clip import ClipOptions, count_patches
from tpr.models.clip_names import rename_hugging_face
from tpr.models.positions import guess_grid
from tpr.models.weights import Checkpoint
from tpr.systems.official import Official

TOWERS = "base_model."
CLIP_PARTS = {
    "visual", "transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection",
}  # fmt: skip
"""First part of every name in a bare CLIP file."""
NOT_WEIGHTS = {"logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size", "attn_mask"}
OFFICIAL_SIZE = (384, 128)
"""Input of every published system that shares IRRA's layout."""
OPENAI_NAMES = {"input_resolution", "context_length", "vocab_size"}
"""Entries of OpenAI's own files that are no weights."""


class ClipOfficial(Official):
    """Files of dual encoders on CLIP's towers."""

    def rename(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """IRRA's layout and bare CLIP files, Hugging Face's among them -> our names.

        Bare CLIP names get `base_model.` in front, by their beginnings: blocks of the cross-modal transformer
        end like those of the text tower.
        """
        names = rename_hugging_face(stored)
        names = {name: value for name, value in names.items() if name.split(".")[-1] not in NOT_WEIGHTS}
        if not any(name.startswith(TOWERS) for name in names):
            is_tower = {name: name.split(".")[0] in CLIP_PARTS for name in names}
            names = {TOWERS * is_tower[name] + name: value for name, value in names.items()}
        return super().rename(names)

    def model(self, state: Mapping[str, Tensor]) -> tuple[Choice, DataOptions]:
        """Towers of the sizes that the weights have, at the published input size where positions allow it."""
        towers = take_towers(state)
        sizes = read_architecture(towers, quick_gelu=True)
        patches = len(towers["visual.positional_embedding"]) - 1
        image_size, stride = find_input(patches, sizes.image.patch)
        model = Choice("clip", ClipOptions(architecture=sizes, stride=stride))
        return model, DataOptions(image_size=image_size, text_length=sizes.text.context)

    def find_doubt(self, checkpoint: Checkpoint) -> str | None:
        """The activation: all published person search systems and OpenAI use QuickGELU; open_clip varies."""
        names = checkpoint.state.keys()
        is_certain = (
            checkpoint.kind == "torchscript" or names >= OPENAI_NAMES or any(TOWERS in name for name in names)
        )
        if is_certain:
            return None
        return (
            "the file does not tell its activation; QuickGELU is taken, as in OpenAI's CLIP; "
            "weights trained with GELU (LAION's) need model.architecture=NAME without -quickgelu"
        )


def take_towers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The towers' part of a state in our names, under CLIP's own names."""
    return {name.removeprefix(TOWERS): value for name, value in state.items() if name.startswith(TOWERS)}


def find_input(patches: int, patch: int) -> tuple[tuple[int, int], int | None]:
    """Image size and stride behind a number of stored patch positions.

    A square number comes from CLIP's own images and is resized for the published 384x128; another one is
    that size at some stride, or else the grid nearest to its shape.
    """
    if math.isqrt(patches) ** 2 == patches:
        return OFFICIAL_SIZE, None
    for stride in range(patch, 0, -1):
        if math.prod(count_patches(OFFICIAL_SIZE, patch, stride)) == patches:
            return OFFICIAL_SIZE, None if stride == patch else stride
    rows, columns = guess_grid(patches, OFFICIAL_SIZE)
    return (rows * patch, columns * patch), None
