"""One training step, forward and backward: the published model and step against system `irra`.

`faithful` computes the published losses in float32 with less work: one text pass where both passes read the
same ids, words guessed at labelled positions only. `bf16` is the same step under bf16 autocast. `fast` also
changes the objective: the image tower reads half of the patches, and padding takes no part in the blocks in
which words look at one another (`system.keep_patches=0.5 system.word_positions=caption`). A CPU without bf16
instructions leaves both out at full size and says so; with --quick it emulates them.
"""

from contextlib import nullcontext

import torch
from torch import Tensor

from benchmarks.inputs import draw_captions
from benchmarks.machine import has_bf16, is_held_back
from benchmarks.project import build_irra
from benchmarks.reference.model import Irra, train_step
from benchmarks.reference.towers import Architecture
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.data.samples.batch import Batch
from tpr.data.text.masking import mask_words
from tpr.data.text.tokens import CLIP_TOKENIZER, tokenize
from tpr.engine.meter import Meter
from tpr.systems.base import Progress, StepOutput, System

SMALL = Architecture(
    image_size=(128, 64), image_width=128, image_layers=2, text_width=128, text_layers=2, embedding=128
)
IDENTITIES = 11_003
FAST = {"keep_patches": 0.5, "word_positions": "caption"}
PROGRESS = Progress(seed=1, epoch=1, step=0)


def run(quick: bool) -> Report:
    """ViT-B/16 at 384 x 128, batch 2, 11,003 identities; `quick` takes a small CLIP and batch 8."""
    sizes, batch_size = (SMALL, 8) if quick else (Architecture(), 2)
    name = "small CLIP" if quick else "ViT-B/16"
    height, width = sizes.image_size
    report = Report(
        "step", f"{name}, {height} x {width}, batch {batch_size}, {torch.get_num_threads()} threads"
    )
    for masked_words in (True, False):
        _compare(report, sizes, batch_size, masked_words=masked_words, quick=quick)
    return report


def _compare(
    report: Report, sizes: Architecture, batch_size: int, *, masked_words: bool, quick: bool
) -> None:
    torch.manual_seed(1)
    published = Irra(sizes, IDENTITIES, masked_words)
    system = build_irra(sizes, IDENTITIES, masked_words=masked_words)
    system.load_state_dict(system.official.rename(published.state_dict()))
    system.train()
    theirs, ours = draw_batches(sizes, batch_size)
    losses = "sdm + id + mlm" if masked_words else "sdm + id"
    values = train_step(published, theirs)
    for name, value in step(system, ours, bf16=False).losses.items():
        other = values[f"{name}_loss"]
        report.check(
            f"{losses}: {name} equals the published loss",
            abs(float(value) - other) <= 1e-5 * max(1, abs(other)),
            f"{float(value):.6f} and {other:.6f}",
        )
    _check_gradients(report, losses, published, system)
    variants = [("faithful, float32", system, False, 1.15)]
    is_emulated = quick and not has_bf16() and not is_held_back()
    if not has_bf16():
        told = "emulated, and slow" if is_emulated else "left out"
        report.facts["bf16 and fast"] = (
            f"{told}: this CPU has no bf16 instructions, or torch may not use them"
        )
    if has_bf16() or is_emulated:
        fast = build_irra(sizes, IDENTITIES, masked_words=masked_words, **FAST)
        fast.load_state_dict(system.state_dict())
        fast.train()
        _check_fast(report, losses, fast, ours)
        variants += [("bf16", system, True, None), ("fast", fast, True, 3.5)]
    for label, chosen, bf16, goal in variants:
        timing = interleave(
            lambda: train_step(published, theirs),
            lambda chosen=chosen, bf16=bf16: step(chosen, ours, bf16=bf16),
            rounds=3 if quick else 7,
        )
        goal_here = goal if masked_words and not quick else None
        report.cases.append(Case(f"{losses}: {label}", timing, goal_here, batch_size))


def _check_fast(report: Report, losses: str, fast: System, ours: Batch) -> None:
    """Another objective has other losses; they must be finite and train every parameter."""
    found = step(fast, ours, bf16=True).losses
    trained = all(parameter.grad is not None for parameter in fast.parameters())
    report.check(
        f"{losses}: fast trains every parameter on finite losses",
        trained and all(bool(value.isfinite()) for value in found.values()),
        ", ".join(f"{name} {float(value):.4f}" for name, value in found.items()),
    )


def step(system: System, batch: Batch, *, bf16: bool) -> StepOutput:
    """Forward and backward as the trainer runs them; values stay on the device."""
    system.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        output: StepOutput = system(batch, PROGRESS)
    total = torch.stack([value.float() for value in output.losses.values()]).sum()
    total.backward()
    Meter().add(output, total)
    return StepOutput({name: value.detach() for name, value in output.losses.items()})


def draw_batches(sizes: Architecture, batch_size: int) -> tuple[dict[str, Tensor], Batch]:
    """The same images, captions and masks for both sides.

    The published masking changes the caption itself, so its two text passes read equal ids.
    """
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(batch_size, 3, *sizes.image_size, generator=generator)
    identity = torch.randint(0, IDENTITIES, (batch_size,), generator=generator)
    tokens = tokenize(draw_captions(batch_size, seed=3))
    rows = torch.arange(batch_size)
    masked, labels = mask_words(
        tokens, 0.15, caption_index=rows, seed=PROGRESS.seed, epoch=PROGRESS.epoch, tokenizer=CLIP_TOKENIZER
    )
    theirs = {
        "images": images,
        "pids": identity,
        "caption_ids": masked,
        "mlm_ids": masked,
        "mlm_labels": labels,
    }
    ours: Batch = {
        "images": images,
        "tokens": tokens,
        "identity": identity,
        "text_identity": identity,
        "owner": rows,
        "sample_index": rows,
        "image_index": rows,
        "caption_index": rows,
        "global_size": batch_size,
        "longest_caption": int(tokens.argmax(dim=1).max()) + 1,
    }
    return theirs, ours


def _check_gradients(report: Report, losses: str, published: Irra, system: System) -> None:
    """Norm over all gradients, and the largest difference of one tensor's norm."""
    ours = {name: parameter.grad for name, parameter in system.named_parameters()}
    worst = 0.0
    for name, parameter in published.named_parameters():
        theirs, mine = parameter.grad, ours[name]
        if theirs is not None and mine is not None and theirs.norm() > 1e-6:
            worst = max(worst, float((theirs - mine).norm() / theirs.norm()))
    report.check(f"{losses}: gradients agree", worst < 1e-3, f"largest relative difference {worst:.1e}")
