"""Weights by tag, fetched once when a config asks for it; a path is taken as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from torchvision.models import ResNet50_Weights

from tpr.errors import CheckpointError, ConfigError, first_line
from tpr.home import find_cache_home
from tpr.locks import take_turns
from tpr.models.clip import ClipOptions


def find_weights(options: ClipOptions, option: str = "model.weights") -> Path:
    """The file behind a CLIP's weights: the path itself, or that of a tag, fetched if it is not here yet.

    option: its name in messages. Raises ConfigError for a tag that does not fit the architecture,
    CheckpointError where the file can be neither found nor fetched.
    """
    weights = options.weights or ""
    if Path(weights).exists():
        return Path(weights)
    if not isinstance(options.architecture, str):
        raise CheckpointError(f"{option}={weights}: no such file; sizes given inline have no tags")
    tags = list_pretrained_tags_by_model(options.architecture)
    if weights not in tags:
        raise CheckpointError(
            f"{option}={weights}: no such file, and {options.architecture} has no such tag; "
            f"tags: {', '.join(tags) or 'none'}"
        )
    published = get_pretrained_cfg(options.architecture, weights)
    _check_activation(options.architecture, weights, published)
    source = published.get("url") or f"https://huggingface.co/{published.get('hf_hub', '').rstrip('/')}"

    def download(folder: Path) -> Path:
        # Hugging Face's files stay in its own cache.
        return Path(
            download_pretrained(published, cache_dir=None if published.get("hf_hub") else str(folder))
        )

    return _fetch(f"{option}={weights}", source, download)


def find_imagenet(weights: str) -> Path:
    """The file of a ResNet-50 for ImageNet: the path itself, or that of the tag imagenet, fetched if need be.

    Raises CheckpointError where the file can be neither found nor fetched.
    """
    if Path(weights).exists():
        return Path(weights)
    if weights != "imagenet":
        raise CheckpointError(f"model.weights={weights}: no such file, and no such tag; tags: imagenet")
    url = ResNet50_Weights.IMAGENET1K_V1.url

    def download(folder: Path) -> Path:
        torch.hub.load_state_dict_from_url(url, str(folder), "cpu", check_hash=True, weights_only=True)
        return folder / Path(url).name

    return _fetch(f"model.weights={weights}", url, download)


def _check_activation(architecture: str, tag: str, published: dict[str, Any]) -> None:
    """open_clip lists QuickGELU's tags under the plain names too, where they would run with the wrong one."""
    if (tag == "openai" or published.get("quick_gelu")) and not architecture.endswith("-quickgelu"):
        raise ConfigError(
            f"model.weights={tag} was trained with QuickGELU; set model.architecture={architecture}-quickgelu"
        )


def _fetch(asked: str, source: str, download: Callable[[Path], Path]) -> Path:
    """What `download` puts into the cache; processes take turns, and later ones find it whole."""
    folder = find_cache_home() / "clip"  # open_clip's own, so that nothing is fetched twice
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with take_turns(folder / "tpr.lock"):
            return download(folder)
    except Exception as error:
        # Every transport has errors of its own; whichever it was, the way out is the same.
        raise CheckpointError(
            f"{asked}: cannot be fetched ({first_line(error)}); fetch {source} on a machine with a network, "
            f"copy it here and set {asked.partition('=')[0]}=PATH"
        ) from None
