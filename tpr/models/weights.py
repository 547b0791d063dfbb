"""Checkpoint files read safely, and their values brought into a model with a report of what fitted.

Nothing pickled is ever run: torch files are read with `weights_only=True`, a TorchScript archive (OpenAI's
files) is recognised by its content and only its tensors are kept.
"""

import json
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tpr.errors import CheckpointError

logger = logging.getLogger(__name__)

FORMAT = "tpr"
PICKLE_START = 0x80
CONTAINERS = ("model", "state_dict", "model_state_dict", "module")
Kind = Literal["ours", "torch", "torchscript", "safetensors"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds."""

    path: Path
    kind: Kind
    state: dict[str, Tensor]
    """Weights under the file's own names."""
    config: dict[str, Any] | None = None
    """Resolved configuration of the run, in files of ours."""
    setting: dict[str, Any] | None = None
    """Sizes of the run's input and training set, in files of ours."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a file of ours, of the published systems, of OpenAI or open_clip, on the CPU.

    Raises CheckpointError in one line for a file that is missing, empty, truncated, no checkpoint, or that
    holds pickled code.
    """
    path = Path(path)
    kind = _recognise(path)
    if kind == "safetensors":
        return Checkpoint(path, kind, _read_safetensors(path))
    if kind == "torchscript":
        return Checkpoint(path, kind, _read_archive(path))
    content = read_torch_file(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected named weights")
    ours = content.get("format") == FORMAT
    inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), content)
    state = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{path}: holds no weights; found {_list_names(content)}")
    if not ours:
        return Checkpoint(path, "torch", state)
    return Checkpoint(path, "ours", state, content.get("config"), content.get("setting"))


def read_torch_file(path: Path) -> Any:
    """Tensors and plain values that `torch.save` wrote, on the CPU; nothing pickled is run.

    Raises CheckpointError in one line as `read_checkpoint` does.
    """
    if _recognise(path) != "torch":
        raise CheckpointError(f"{path}: not a file of torch.save")
    return _read_torch(path)


def _recognise(path: Path) -> Kind:
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
    if head[0] == PICKLE_START:
        return "torch"
    if head[:2] != b"PK":
        raise CheckpointError(f"{path}: not a checkpoint (it starts with {head!r})")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # torch itself reads changed bytes without a word.
            is_damaged = archive.testzip() is not None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        raise _damaged(path) from None
    if is_damaged:
        raise _damaged(path)
    return "torchscript" if any(re.search(r"/code/|/constants\.pkl$", name) for name in names) else "torch"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_file(path)
        return state
    except (SafetensorError, ValueError, OSError, json.JSONDecodeError):
        raise _damaged(path) from None


def _read_archive(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # torch warns that TorchScript is going away; OpenAI's files stay what they are.
            warnings.simplefilter("ignore")
            archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise CheckpointError(f"{path}: damaged TorchScript archive ({_first_line(error)})") from None
    return {name: value.detach() for name, value in archive.state_dict().items()}


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch warns of pickle protocols that only foreign files have; they are refused below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own words advise to switch the safety off, so they are not passed on.
        code = re.search(r"GLOBAL (\S+)", str(error))
        named = f"pickled code ({code[1]})" if code else "something other than tensors and plain values"
        raise CheckpointError(f"{path}: refused: it holds {named}, which was not run") from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, IndexError, AttributeError, TypeError):
        raise _damaged(path) from None


def _damaged(path: Path) -> CheckpointError:
    size = path.stat().st_size
    return CheckpointError(f"{path}: truncated or damaged ({size:,} bytes); copy or download it again")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _list_names(names: Mapping[Any, Any]) -> str:
    shown = sorted(map(str, names))
    return ", ".join(shown[:6]) + (", ..." if len(shown) > 6 else "") if shown else "nothing"


@runtime_checkable
class FitsWeights(Protocol):
    """A module that can bring a stored value of another shape to its own."""

    def fit_weight(self, name: str, value: Tensor, grid: tuple[int, int] | None) -> tuple[Tensor, str] | None:
        """The value in this model's shape with a word on how, or None where it cannot or need not change."""


@dataclass
class LoadReport:
    """What became of each stored tensor."""

    loaded: list[str] = field(default_factory=list)
    """Names whose values were taken over, resized ones included."""
    resized: dict[str, str] = field(default_factory=dict)
    """Name -> how its shape was changed."""
    reinitialised: dict[str, str] = field(default_factory=dict)
    """Name -> stored and own shape, where they do not fit; the model keeps its fresh values."""
    missing: list[str] = field(default_factory=list)
    """Names of the model that the file lacks."""
    left_over: list[str] = field(default_factory=list)
    """Names of the file that the model lacks."""
    share: float = 0.0
    """Values taken over, of the smaller of model and file."""

    def render(self) -> str:
        """One line for people."""
        total = len(self.loaded) + len(self.reinitialised) + len(self.missing)
        parts = [f"weights: {len(self.loaded)} of {total} tensors fit"]
        parts += [f"{_name_part(name)} resized {how}" for name, how in self.resized.items()]
        if self.reinitialised:
            parts.append("new because of another size: " + _join_groups(self.reinitialised))
        if self.missing:
            parts.append("missing: " + _join_groups(dict.fromkeys(self.missing, "")))
        if self.left_over:
            parts.append("left over: " + _join_groups(dict.fromkeys(self.left_over, "")))
        return "; ".join(parts)


def _name_part(name: str) -> str:
    if not name.endswith("positional_embedding"):
        return name
    return "positional embedding" if "visual" in name else "text positional embedding"


def _join_groups(names: Mapping[str, str]) -> str:
    """Names shortened to their first part where several share it: classifier.weight (11 -> 7), mlm_head.*."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.split(".")[0], []).append(name)
    words = []
    for first, members in groups.items():
        detail = next((names[name] for name in members if names[name]), "")
        label = members[0] if len(members) == 1 else f"{first}.*"
        words.append(f"{label} ({detail})" if detail else label)
    return ", ".join(words)


def fit_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    minimum_share: float,
    grid: tuple[int, int] | None = None,
    source: str = "checkpoint",
) -> LoadReport:
    """Copies stored values into a model by exact name and says what fitted.

    grid: rows and columns of patches in the stored image positions, where known. source: name in messages.
    Raises CheckpointError, with the model untouched, when the values that fit are less than
    `minimum_share` of the smaller of model and file.
    """
    own = model.state_dict()
    report = LoadReport(left_over=[name for name in state if name not in own])
    taken: dict[str, Tensor] = {}
    for name, parameter in own.items():
        if name not in state:
            report.missing.append(name)
            continue
        value, how = _fit_value(model, name, state[name], grid)
        if value.shape != parameter.shape:
            report.reinitialised[name] = f"{_show_shape(state[name])} -> {_show_shape(parameter)}"
            continue
        taken[name] = value
        report.loaded.append(name)
        if how:
            report.resized[name] = how
    fitted = sum(value.numel() for value in taken.values())
    smaller = min(_count_values(own), _count_values(state))
    report.share = fitted / max(smaller, 1)
    if report.share < minimum_share:
        raise CheckpointError(
            f"{source}: only {fitted:,} of {smaller:,} values fit ({report.share:.1%}, expected at least "
            f"{minimum_share:.0%}); {report.render()}"
        )
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    return report


def _fit_value(
    model: nn.Module, name: str, value: Tensor, grid: tuple[int, int] | None
) -> tuple[Tensor, str]:
    for prefix, module in model.named_modules():
        inner = name.removeprefix(f"{prefix}.") if prefix else name
        if isinstance(module, FitsWeights) and (not prefix or name != inner):
            fitted = module.fit_weight(inner, value, grid)
            if fitted is not None:
                return fitted
    return value, ""


def _count_values(state: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for value in state.values())


def _show_shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
