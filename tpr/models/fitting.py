"""Values of a checkpoint brought into a model, with a report of what fitted."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tpr.errors import CheckpointError

logger = logging.getLogger(__name__)


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
    not_finite: dict[str, int] = field(default_factory=dict)
    """Loaded name -> how many of its values are no finite numbers."""
    share: float = 0.0
    """Finite values taken over, of the smaller of model and file."""

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
        if self.not_finite:
            parts.append(self.describe_not_finite())
        return "; ".join(parts)

    def describe_not_finite(self) -> str:
        """How many values are no finite numbers, and where."""
        return (
            f"{sum(self.not_finite.values()):,} values in {len(self.not_finite)} of {len(self.loaded)} "
            f"tensors are not finite, the first in {next(iter(self.not_finite))}"
        )


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
    """Copies stored values into a model by exact name, says what fitted, and warns of what is not finite.

    grid: rows and columns of patches in the stored image positions, where known. source: name in messages.
    Raises CheckpointError, with the model untouched, when the values that fit and are finite are less than
    `minimum_share` of the smaller of model and file.
    """
    own = model.state_dict()
    fitters = {name: module for name, module in model.named_modules() if isinstance(module, FitsWeights)}
    report = LoadReport(left_over=[name for name in state if name not in own])
    taken: dict[str, Tensor] = {}
    for name, parameter in own.items():
        if name not in state:
            report.missing.append(name)
            continue
        value, how = state[name], ""
        if value.numel() and value.dim() == parameter.dim():
            value, how = _fit_value(fitters, name, value, grid)
        if value.shape != parameter.shape or value.is_complex() != parameter.is_complex():
            report.reinitialised[name] = f"{_show_shape(state[name])} -> {_show_shape(parameter)}"
            continue
        taken[name] = value
        report.loaded.append(name)
        # As the model holds it: a large float64 is no finite float32.
        if bad := _count_not_finite(value.to(parameter.dtype)):
            report.not_finite[name] = bad
        if how:
            report.resized[name] = how
    fitted = _count_values(taken) - sum(report.not_finite.values())
    smaller = min(_count_values(own), _count_values(state))
    report.share = fitted / max(smaller, 1)
    if report.share < minimum_share:
        what = "fit and are finite" if report.not_finite else "fit"
        raise CheckpointError(
            f"{source}: only {fitted:,} of {smaller:,} values {what} ({report.share:.1%}, expected at least "
            f"{minimum_share:.0%}); {report.render()}"
        )
    if report.not_finite:
        logger.warning(
            "%s: %s: its training has diverged, use an earlier file",
            source,
            report.describe_not_finite(),
        )
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    return report


def _fit_value(
    fitters: Mapping[str, FitsWeights], name: str, value: Tensor, grid: tuple[int, int] | None
) -> tuple[Tensor, str]:
    for prefix, module in fitters.items():
        inner = name.removeprefix(f"{prefix}.") if prefix else name
        if not prefix or name != inner:
            fitted = module.fit_weight(inner, value, grid)
            if fitted is not None:
                return fitted
    return value, ""


def all_finite(value: Tensor) -> Tensor:
    """Whether every value of a tensor that is not empty is finite: a scalar on its device.

    The smallest and the largest tell, in a tenth of the time that looking at each on a CPU takes.
    """
    return torch.stack(value.aminmax()).isfinite().all()


def _count_not_finite(value: Tensor) -> int:
    return 0 if not value.numel() or all_finite(value) else int((~value.isfinite()).sum())


def _count_values(state: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for value in state.values())


def _show_shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
