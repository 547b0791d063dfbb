"""Sizes of a CLIP with a vision transformer: given inline, by open_clip's name, or read off a state dict."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import open_clip
from torch import Tensor

from tpr.config.ranges import Range
from tpr.errors import CheckpointError, ConfigError

VOCABULARY = 49408
HEAD_WIDTH = 64
Width = Annotated[int, Range(1, 16384)]
Layers = Annotated[int, Range(1, 1024)]
Heads = Annotated[int, Range(1, 1024)]
Patch = Annotated[int, Range(1, 512)]
PLAIN_KEYS = {
    "embed_dim": set[str](),
    "quick_gelu": set[str](),
    "vision_cfg": {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"},
    "text_cfg": {"context_length", "vocab_size", "layers", "width", "heads"},
}


@dataclass(frozen=True, kw_only=True)
class ImageArchitecture:
    """Sizes of the image tower; the defaults are ViT-B/16."""

    width: Width = 768
    """Columns of a token."""
    layers: Layers = 12
    """Transformer blocks."""
    heads: Heads = 12
    """Attention heads."""
    patch: Patch = 16
    """Side of a square patch in pixels."""
    mlp_ratio: Annotated[float, Range(0, 64, "low")] = 4.0
    """Hidden width of a block over its width."""

    def __post_init__(self) -> None:
        _check_heads(self)


@dataclass(frozen=True, kw_only=True)
class TextArchitecture:
    """Sizes of the text tower; the defaults are ViT-B/16's."""

    width: Width = 512
    """Columns of a token."""
    layers: Layers = 12
    """Transformer blocks."""
    heads: Heads = 8
    """Attention heads."""
    context: Annotated[int, Range(1, 4096)] = 77
    """Token positions the weights are made for."""
    vocabulary: Annotated[int, Range(1, 1_000_000)] = VOCABULARY
    """Token ids."""

    def __post_init__(self) -> None:
        _check_heads(self)


@dataclass(frozen=True, kw_only=True)
class ClipArchitecture:
    """Sizes of both towers; the defaults are ViT-B/16."""

    embed_dim: Width = 512
    """Columns of the joint space."""
    image: ImageArchitecture = field(default_factory=ImageArchitecture)
    """The image tower."""
    text: TextArchitecture = field(default_factory=TextArchitecture)
    """The text tower."""
    quick_gelu: bool = True
    """OpenAI's x * sigmoid(1.702 x) in place of the exact GELU."""


def _check_heads(sizes: ImageArchitecture | TextArchitecture) -> None:
    if sizes.width % sizes.heads:
        raise ConfigError(f"width={sizes.width} is no multiple of heads={sizes.heads}")


def find_architecture(architecture: str | ClipArchitecture) -> ClipArchitecture:
    """The sizes behind an open_clip name; sizes given inline are returned as they are.

    Raises ConfigError for an unknown name and for towers that are not CLIP's plain ones.
    """
    if isinstance(architecture, ClipArchitecture):
        return architecture
    config = open_clip.get_model_config(architecture)
    if config is None or not _is_plain(config):
        found = "is not known to open_clip" if config is None else "has towers other than CLIP's plain ones"
        known = ", ".join(list_architectures())
        raise ConfigError(f"model.architecture: {architecture!r} {found}; known: {known}")
    return _from_config(config)


def list_architectures() -> list[str]:
    """open_clip's names whose towers are plain: a vision transformer and a causal text transformer."""
    return [name for name in open_clip.list_models() if _is_plain(open_clip.get_model_config(name))]


def read_architecture(state: Mapping[str, Tensor], *, quick_gelu: bool) -> ClipArchitecture:
    """The sizes of the CLIP whose weights `state` holds under OpenAI's names.

    Shapes do not show heads: they come from open_clip's architecture of the same sizes, else they are 64
    wide as in every CLIP of OpenAI. Raises CheckpointError when weights of a tower are missing.
    """
    try:
        image_width, _, _, patch = state["visual.conv1.weight"].shape
        hidden = state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
        text = read_text_architecture(state)
        embed_dim = state["text_projection"].shape[1]
    except KeyError as error:
        raise CheckpointError(f"no CLIP with a vision transformer: {error} is missing") from None
    except (ValueError, IndexError, TypeError):
        raise CheckpointError("no CLIP with a vision transformer: a weight has other dimensions") from None
    found = ClipArchitecture(
        embed_dim=embed_dim,
        image=ImageArchitecture(
            width=image_width,
            layers=_count_blocks(state, "visual.transformer.resblocks."),
            heads=count_heads(image_width),
            patch=patch,
            mlp_ratio=hidden / image_width,
        ),
        text=text,
        quick_gelu=quick_gelu,
    )
    for name in list_architectures():
        known = _from_config(open_clip.get_model_config(name))
        if _list_shapes(known) == _list_shapes(found):
            return replace(known, quick_gelu=quick_gelu)
    return found


def read_text_architecture(state: Mapping[str, Tensor]) -> TextArchitecture:
    """The sizes of the text tower whose weights `state` holds under OpenAI's names; heads are 64 wide."""
    vocabulary, width = state["token_embedding.weight"].shape
    return TextArchitecture(
        width=width,
        layers=_count_blocks(state, "transformer.resblocks."),
        heads=count_heads(width),
        context=len(state["positional_embedding"]),
        vocabulary=vocabulary,
    )


def count_heads(width: int) -> int:
    """Heads of about 64 columns that divide the width."""
    return next(heads for heads in range(max(1, width // HEAD_WIDTH), 0, -1) if width % heads == 0)


def _list_shapes(sizes: ClipArchitecture) -> dict[str, Any]:
    """Everything that the shapes of the weights show."""
    shapes = asdict(sizes)
    shapes["image"]["mlp_ratio"] = int(sizes.image.width * sizes.image.mlp_ratio + 1e-6)
    del shapes["image"]["heads"], shapes["text"]["heads"], shapes["quick_gelu"]
    return shapes


def _count_blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def _is_plain(config: Mapping[str, Any]) -> bool:
    if not set(config) <= set(PLAIN_KEYS):
        return False
    if any(not set(config[part]) <= PLAIN_KEYS[part] for part in ("vision_cfg", "text_cfg")):
        return False
    return isinstance(config["vision_cfg"].get("layers"), int)


def _from_config(config: Mapping[str, Any]) -> ClipArchitecture:
    image, text = config["vision_cfg"], config["text_cfg"]
    return ClipArchitecture(
        embed_dim=config["embed_dim"],
        image=ImageArchitecture(
            width=image["width"],
            layers=image["layers"],
            heads=image["width"] // image.get("head_width", HEAD_WIDTH),
            patch=image["patch_size"],
            mlp_ratio=image.get("mlp_ratio", 4.0),
        ),
        text=TextArchitecture(
            width=text["width"],
            layers=text["layers"],
            heads=text["heads"],
            context=text.get("context_length", 77),
            vocabulary=text.get("vocab_size", VOCABULARY),
        ),
        quick_gelu=config.get("quick_gelu", False),
    )
