"""One optimiser step of IRRA's Adam: one group per tensor against few groups and a fused update."""

import copy
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.project import build_irra
from benchmarks.reference.optimizer import build_adam
from benchmarks.reference.towers import Architecture
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.config.schema import OptimOptions
from tpr.engine.optim import build_optimizer
from tpr.systems.base import System

NARROW = Architecture(image_size=(128, 64), image_width=64, text_width=64, embedding=64)
"""As many tensors as ViT-B/16 has, each small: what the launches themselves cost."""


def run(quick: bool) -> Report:
    """Twelve narrow blocks a tower; at full size also ViT-B/16 with its 194.5 million values."""
    report = Report("optim", f"Adam, float32, {torch.get_num_threads()} threads")
    _compare(report, NARROW, "367 small tensors", rounds=5 if quick else 15, goal=None)
    if not quick:
        _compare(report, Architecture(), "ViT-B/16, 194.5 M values", rounds=7, goal=5)
    return report


def _compare(report: Report, sizes: Architecture, label: str, *, rounds: int, goal: float | None) -> None:
    torch.manual_seed(1)
    ours = build_irra(sizes, 11_003)
    theirs = copy.deepcopy(ours)
    draw_gradients(ours)
    draw_gradients(theirs)
    grouped, published = build_optimizer(ours, OptimOptions()), build_adam(theirs)
    timing = interleave(published.step, grouped.step, rounds=rounds)
    report.cases.append(Case(label, timing, goal))
    published_calls, grouped_calls = (count_operations(optimizer) for optimizer in (published, grouped))
    report.facts[f"{label}: operations a step"] = f"{published_calls:,} and {grouped_calls:,}"
    report.facts[f"{label}: groups"] = f"{len(published.param_groups)} and {len(grouped.param_groups)}"
    pairs = zip(theirs.parameters(), ours.parameters(), strict=True)
    worst = max(float((a - b).detach().abs().max()) for a, b in pairs)
    report.check(
        f"{label}: parameters equal after {rounds + 2} steps",
        worst <= 1e-7,
        f"largest difference {worst:.1e}",
    )


def draw_gradients(system: System) -> None:
    """The same gradients for equal systems."""
    generator = torch.Generator().manual_seed(2)
    for parameter in system.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * 1e-3


class Counter(TorchDispatchMode):
    """Counts operations that reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def count_operations(optimizer: torch.optim.Optimizer) -> int:
    """Dispatched tensor operations of one step."""
    with Counter() as counter:
        optimizer.step()
    return counter.count
