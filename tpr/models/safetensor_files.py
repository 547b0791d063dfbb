"""Files of safetensors, with a checksum that the format itself lacks.

The checksum stands in the metadata and covers names, types, shapes, values and the other metadata. It is
verified where it is there; files of other programs have none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from xxhash import xxh3_128

from tpr.models.torch_files import telling_damage

CHECKSUM = "tpr_checksum"
OURS = "tpr"
"""Key of the metadata that holds everything but the weights, as JSON."""


def dump_safetensors(state: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """A whole file; about: plain values that come back with the weights."""
    # Tensors that share values are refused by the format.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    words = {OURS: json.dumps(about)}
    content: bytes = save(tensors, {**words, CHECKSUM: _checksum(tensors, words)})
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights on the CPU, and what else a file of ours holds.

    Raises CheckpointError in one line for a damaged file, one whose checksum does not fit included.
    """
    with telling_damage(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not iterable)
        words = dict(file.metadata() or {})
        checksum = words.pop(CHECKSUM, None)
        if (checksum is not None or OURS in words) and checksum != _checksum(tensors, words):
            raise ValueError("the checksum does not fit")
        about: dict[str, Any] = dict(json.loads(words[OURS])) if OURS in words else {}
    return tensors, about


def _checksum(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    digest = xxh3_128(json.dumps(words, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
    return f"xxh3_128:{digest.hexdigest()}"
