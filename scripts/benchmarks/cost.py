"""What learning per caption costs: noise-aware masking, several captions per image, the division of pairs.

Both sides are this project, A with the thing and B without, on the same pairs:
noise-aware masking: a training step (forward and backward) against one that masks all words alike;
four captions per image: a step on B / 4 images with all their captions against one on B pairs;
division: the survey before an epoch, mixtures included, against the forward pass of that epoch.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.inputs import draw_captions
from benchmarks.project import describe_towers
from benchmarks.reference.towers import Architecture
from benchmarks.report import Case, Report
from benchmarks.step import SMALL, step
from benchmarks.timing import interleave
from tpr.data.samples.batch import Batch
from tpr.data.text.tokens import tokenize
from tpr.models.clip import ClipOptions
from tpr.systems import SYSTEMS
from tpr.systems.base import EpochContext, Progress, Setting, System

IDENTITIES = 11_003
SMALL_CLIP = Architecture(image_width=128, image_layers=4, text_width=128, text_layers=2, embedding=128)
"""The towers of the drawn recipes, which look at images of the published size here."""
PROGRESS = Progress(seed=1, epoch=1, step=0)
CAPTIONS_PER_IMAGE = 4


def run(quick: bool) -> Report:
    """A small CLIP and ViT-B/16, both at 384 x 128; `quick` takes a tiny CLIP on small images alone."""
    report = Report(
        "cost",
        f"float32, {torch.get_num_threads()} threads",
        sides=("A: with", "B: without"),
        of_costs=True,
    )
    towers = [("small CLIP", SMALL_CLIP, 64), ("ViT-B/16", Architecture(), 4)]
    if quick:
        towers = [("tiny CLIP", SMALL, 64)]
    for name, sizes, batch in towers:
        rounds = 3 if quick else 7
        _time_masking(report, name, sizes, batch, rounds)
        _time_captions(report, name, sizes, batch, rounds)
        _time_division(report, name, sizes, batch, rounds)
    return report


def _time_masking(report: Report, name: str, sizes: Architecture, batch: int, rounds: int) -> None:
    pairs = draw_batch(sizes, batch, 1)
    sides = [build(sizes, "mllm4text", captions=batch, masking=kind) for kind in ("noise_aware", "equal")]
    timing = interleave(
        lambda: step(sides[0], pairs, bf16=False), lambda: step(sides[1], pairs, bf16=False), rounds=rounds
    )
    report.cases.append(Case(f"{name}, batch {batch}: noise-aware masking", timing, 1.15))
    (scores,) = (table.read(pairs["caption_index"]) for table in sides[0].tables.values())
    known = ~scores.isnan()
    wanted = torch.arange(scores.shape[1]) <= pairs["tokens"].argmax(dim=1)[:, None]
    report.check(
        f"{name}: every position of every caption has a score", torch.equal(known, wanted), known.sum()
    )


def _time_captions(report: Report, name: str, sizes: Architecture, batch: int, rounds: int) -> None:
    images = batch // CAPTIONS_PER_IMAGE
    together, apart = draw_batch(sizes, images, CAPTIONS_PER_IMAGE), draw_batch(sizes, batch, 1)
    sides = [
        build(sizes, "mllm4text", captions=batch, captions_per_image=each) for each in (CAPTIONS_PER_IMAGE, 1)
    ]
    timing = interleave(
        lambda: step(sides[0], together, bf16=False),
        lambda: step(sides[1], apart, bf16=False),
        rounds=rounds,
    )
    report.cases.append(Case(f"{name}, {batch} pairs: four captions per image", timing, 0.5))
    report.check(
        f"{name}: both sides read {batch} captions", len(together["tokens"]) == len(apart["tokens"]), batch
    )


def _time_division(report: Report, name: str, sizes: Architecture, batch: int, rounds: int) -> None:
    steps = 4
    pairs = [draw_batch(sizes, batch, 1, first=batch * number) for number in range(steps)]
    system = build(sizes, "rde", captions=steps * batch)

    def survey(*, augment: bool = True) -> Iterator[Batch]:
        return iter(pairs)

    def forward() -> None:
        system.eval()
        with torch.no_grad():
            for batch_ in pairs:
                system(batch_, PROGRESS)

    context = EpochContext(progress=PROGRESS, survey=survey, autocast=nullcontext)
    timing = interleave(lambda: system.before_epoch(context), forward, rounds=rounds)
    report.cases.append(Case(f"{name}, {steps} batches of {batch}: division", timing, 1.05))
    stored = {key: table.save() for key, table in system.tables.items()}
    report.check(
        f"{name}: every pair has a mark",
        all(value is None or not value.isnan().any() for value in stored.values()),
        ", ".join(stored),
    )


def build(
    sizes: Architecture, name: str, *, captions: int, captions_per_image: int = 1, **options: Any
) -> System:
    """A system in training mode on towers of the given sizes; weights follow a fixed seed."""
    torch.manual_seed(1)
    setting = Setting(
        image_size=sizes.image_size,
        text_length=sizes.text_length,
        identities=IDENTITIES,
        captions=captions,
        captions_per_image=captions_per_image,
    )
    kind: Any = SYSTEMS[name]
    system: System = kind(kind.Options(**options), ClipOptions(architecture=describe_towers(sizes)), setting)
    return system.train()


def draw_batch(sizes: Architecture, images: int, captions_per_image: int, *, first: int = 0) -> Batch:
    """Random images, each with its own person and captions; captions are numbered from `first`."""
    generator = torch.Generator().manual_seed(2 + first)
    rows = torch.arange(images)
    owner = rows.repeat_interleave(captions_per_image)
    tokens = tokenize(draw_captions(len(owner), seed=3 + first))
    numbers = torch.arange(first, first + len(owner))
    return Batch(
        images=torch.randn(images, 3, *sizes.image_size, generator=generator),
        tokens=tokens,
        identity=first + rows,
        text_identity=first + owner,
        owner=owner,
        sample_index=first + rows,
        image_index=first + rows,
        caption_index=numbers,
        global_size=images,
        longest_caption=int(tokens.argmax(dim=1).max()) + 1,
    )
