"""Whether the GPU computes what the CPU does, for every system of the contract test's table.

Losses and gradients in float32 on both, bf16 against float32, the integers of all random draws, and twenty
steps in which the host must not wait for the device.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.section import Bench, Section
from benchmarks.gpu.stepper import NoLoader, Stepper, send, with_runtime
from tpr.config.schema import RuntimeOptions
from tpr.data.images.patches import draw_patches
from tpr.data.samples.randomness import hash_bits
from tpr.data.text.masking import draw_masks
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.engine.precision import PrecisionName, choose_precision
from tpr.systems.base import EpochContext, Progress

ROOT = Path(__file__).parents[3]
LOSS_LIMIT = 1e-4
"""Largest difference of a loss in float32, relative above 1."""
GRADIENT_LIMIT = 2e-3
"""Largest relative difference of one tensor's gradient in float32: devices add in another order."""
BF16_LIMIT = 0.05
"""Largest difference of a loss in bf16, relative above 1."""
PROGRESS = Progress(seed=1, epoch=1, step=0)
WARM_STEPS, STEPS = 3, 20


def run(bench: Bench, section: Section) -> None:
    """Every row of the table of systems."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from tests.systems.every_system import ROWS

    _check_draws(bench, section)
    columns = ["system", "loss, float32", "gradient, float32", "loss, bf16"]
    table = section.add_table("Largest differences between CPU and device, losses relative above 1", *columns)
    for name, row in ROWS.items():
        table.add(name, *_compare(bench, section, name, row))
    if bench.device.type != "cuda":
        section.facts["waiting for the device"] = "not measured: there is no GPU"
        return
    for name, row in ROWS.items():
        _check_waiting(bench, section, name, row)
        _check_scaling(bench, section, name, row)


def _check_draws(bench: Bench, section: Section) -> None:
    """Integers are equal on every device, or a resumed run would go on with other masks."""
    numbers = torch.arange(512) * 1_000_003
    sides = numbers, numbers.to(bench.device)
    draws = {
        "masked tokens": [
            draw_masks(each, 77, seed=7, epoch=3, tokenizer=CLIP_TOKENIZER).words for each in sides
        ],
        "patches": [draw_patches(each, 192, 0.5, seed=7, epoch=3) for each in sides],
        "bits": [hash_bits(12_345, each, 64) for each in sides],
    }
    for what, (here, there) in draws.items():
        section.check(f"random {what} are equal", torch.equal(here, there.cpu()), f"{here.numel():,} numbers")


def _compare(bench: Bench, section: Section, name: str, row: Any) -> list[str]:
    """The largest differences of one system as text, and a check of each."""
    expected, gradients = _differentiate(row, torch.device("cpu"), "float32")
    found, others = _differentiate(row, bench.device, "float32")
    narrow, _ = _differentiate(row, bench.device, "bf16")
    loss, bf16 = _differ(found, expected), _differ(narrow, expected)
    # A gradient that is nothing but rounding, as of a bias before a norm, is compared with the others' size.
    least = 1e-4 * max(float(value.norm()) for value in gradients.values())
    gradient = max(
        float((others[key] - value).norm()) / max(float(value.norm()), least)
        for key, value in gradients.items()
    )
    section.check(f"{name}: losses agree in float32", loss <= LOSS_LIMIT, f"{loss:.1e}")
    section.check(f"{name}: gradients agree in float32", gradient <= GRADIENT_LIMIT, f"{gradient:.1e}")
    section.check(f"{name}: losses in bf16 are near", bf16 <= BF16_LIMIT, f"{bf16:.1e}")
    return [f"{loss:.1e}", f"{gradient:.1e}", f"{bf16:.1e}"]


def _differentiate(
    row: Any, device: torch.device, precision: PrecisionName
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses and gradients of the first step, brought to the CPU."""
    arithmetic = choose_precision(RuntimeOptions(precision=precision), device)
    system = row.make().to(device)
    nothing = partial(NoLoader().survey, PROGRESS.epoch)
    system.before_epoch(EpochContext(progress=PROGRESS, survey=nothing, autocast=arithmetic.autocast))
    with arithmetic.autocast():
        losses = system(send(row.make_batch(), device), PROGRESS).losses
    torch.stack([value.float() for value in losses.values()]).sum().backward()
    gradients = {
        name: parameter.grad.detach().cpu()
        for name, parameter in system.named_parameters()
        if parameter.grad is not None
    }
    return {name: float(value.detach()) for name, value in losses.items()}, gradients


def _differ(found: dict[str, float], expected: dict[str, float]) -> float:
    return max(abs(found[name] - value) / max(1.0, abs(value)) for name, value in expected.items())


def _check_waiting(bench: Bench, section: Section, name: str, row: Any) -> None:
    """Steps during which torch refuses whatever makes the host wait."""
    experiment = with_runtime(row.experiment, precision="bf16")
    step = Stepper(experiment, row.setting, bench, system=row.make())
    batch = send(row.make_batch(), bench.device)
    for _ in range(WARM_STEPS):
        step(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(STEPS):
            step(batch)
        found = f"{STEPS} steps"
    except RuntimeError as error:
        found = str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    section.check(f"{name}: no step waits for the device", found == f"{STEPS} steps", found)


def _check_scaling(bench: Bench, section: Section, name: str, row: Any) -> None:
    """A few steps in float16, whose losses are scaled, leave finite weights that moved."""
    system = row.make()
    before = [parameter.detach().clone() for parameter in system.parameters()]
    step = Stepper(with_runtime(row.experiment, precision="fp16"), row.setting, bench, system=system)
    batch = send(row.make_batch(), bench.device)
    for _ in range(STEPS):
        step(batch)
    after = [parameter.detach().cpu() for parameter in system.parameters()]
    finite = all(bool(value.isfinite().all()) for value in after)
    moved = any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    section.check(f"{name}: float16 trains", finite and moved, f"finite {finite}, moved {moved}")
