"""Checkpoint files of every kind as named weights; nothing that a file holds is ever run.

Kinds are told by content, not by the file's ending. Of files that other programs wrote, the weights are
found under whatever key they stand; what else stands there is left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from tpr.errors import CheckpointError
from tpr.models.foreign import choose_weights, list_names, strip_wrappers
from tpr.models.safetensor_files import read_safetensors
from tpr.models.torch_files import TorchFile, open_torch

FORMAT = "tpr"
FORMAT_VERSION = 1
"""Raised when an older program could no longer make sense of what is written."""
PICKLE_START = 0x80
TORCHSCRIPT = "__torch__."
"""Start of every class name in a TorchScript archive."""
Kind = Literal["ours", "torch", "torchscript", "safetensors"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds."""

    path: Path
    kind: Kind
    state: dict[str, Tensor]
    """Weights under the file's own names, less what wrapped the whole model."""
    config: dict[str, Any] | None = None
    """Resolved configuration of the run, in files of ours."""
    setting: dict[str, Any] | None = None
    """Sizes of the run's input and training set, in files of ours."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a file of ours, of the published systems, of OpenAI, open_clip or Hugging Face, on the CPU.

    Raises CheckpointError in one line for a file that is missing, empty, truncated, no checkpoint, or whose
    weights cannot be had without running what it holds.
    """
    path = Path(path)
    if _recognise(path) == "safetensors":
        tensors, about = read_safetensors(path)
        if is_ours(about):
            return _check_ours(path, {"model": tensors, **about})
        return Checkpoint(path, "safetensors", strip_wrappers(path, tensors))
    with open_torch(path) as file:
        if is_ours(file.content):
            wanted = ("format_version", "versions", "model", "config", "setting")
            return _check_ours(path, file.build({key: file.content.get(key) for key in wanted}))
        return _read_foreign(path, file)


def read_torch_file(path: Path) -> Any:
    """Tensors and plain values that `torch.save` wrote, on the CPU; nothing that is pickled is run.

    Raises CheckpointError in one line as `read_checkpoint` does, and where anything else is in it.
    """
    if _recognise(path) != "torch":
        raise CheckpointError(f"{path}: not a file of torch.save")
    with open_torch(path) as file:
        content = file.build(file.content)
    if is_ours(content):
        _check_version(path, content)
    return content


def is_ours(content: Any) -> bool:
    """True for what this program writes."""
    return isinstance(content, Mapping) and content.get("format") == FORMAT


def _recognise(path: Path) -> Literal["torch", "safetensors"]:
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; expected a checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise CheckpointError(f"{path}: the file is empty; expected a checkpoint")
    if head[8:9] == b"{":
        return "safetensors"
    if head[0] == PICKLE_START or head[:2] == b"PK":
        return "torch"
    raise CheckpointError(f"{path}: not a checkpoint (it starts with {head!r})")


def _read_foreign(path: Path, file: TorchFile) -> Checkpoint:
    kind: Kind = "torchscript" if file.names_class(TORCHSCRIPT) else "torch"
    chosen = choose_weights(path, file.content)
    loaded = {name: file.load(chosen[name], name) for name in chosen}
    return Checkpoint(path, kind, strip_wrappers(path, loaded))


def _check_ours(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    _check_version(path, content)
    state, config, setting = (content.get(key) for key in ("model", "config", "setting"))
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no weights; found {list_names(content)}")
    for name, value in (("config", config), ("setting", setting)):
        if not isinstance(value, dict | None):
            raise CheckpointError(f"{path}: its {name} is a {type(value).__name__}, expected options by name")
    return Checkpoint(path, "ours", {str(name): state[name] for name in state}, config, setting)


def _check_version(path: Path, content: Mapping[str, Any]) -> None:
    """Files from before there was a version have none."""
    version = content.get("format_version", None)
    if version is None or (type(version) is int and version <= FORMAT_VERSION):
        return
    raise CheckpointError(
        f"{path}: is written in format {version!s:.20}, but this version of tpr reads formats up to "
        f"{FORMAT_VERSION}; install a newer tpr"
    )
