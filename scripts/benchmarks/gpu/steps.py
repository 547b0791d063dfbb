"""One training step of IRRA on ViT-B/16 at 384 x 128: the published recipe and this project's, by batch size.

`published` is side A of the other benchmarks with weights and Adam's state in half precision, as its authors
train. Ours is the trainer's own step. Rates are of steps on a batch that lies on the device.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.section import Bench, Section, Table, count_flops
from benchmarks.gpu.stepper import Stepper, describe_setting, draw_pairs, open_recipe, with_runtime
from benchmarks.reference.model import Irra, to_half, train_step
from benchmarks.reference.optimizer import build_adam
from benchmarks.reference.towers import Architecture
from benchmarks.step import SMALL
from tpr.data.samples.batch import Batch
from tpr.data.text.masking import mask_words
from tpr.data.text.tokens import CLIP_TOKENIZER

RECIPE = "irra/cuhk_pedes.yaml"
ALONE = ("system.losses={sdm: 1, id: 0, mlm: 0}",)
"""SDM alone."""
BATCH = 64
SIZES = (64, 128, 256, 512)
COLUMNS = ["step", "batch", "pairs/s", "ms", "times the published", "share of peak", "memory, GiB"]


def run(bench: Bench, section: Section) -> None:
    """Every variant as long as there is time; the most important first."""
    table = section.add_table("One training step", *COLUMNS)
    measured = _Rates(bench, table)
    _measure_published(bench, measured)
    sizes = (8, 16) if bench.quick else SIZES
    for losses, words in (("SDM + ID + MLM", ()), ("SDM", ALONE)):
        step = _open(bench, *words)
        for size in sizes:
            measured.add(f"eager, {losses}", step, size)
        if not words:
            _measure_attention(measured, step, sizes[0])
        del step


def _open(bench: Bench, *words: str) -> Stepper:
    experiment = with_runtime(open_recipe(bench, RECIPE, *words), precision="bf16")
    return Stepper(experiment, describe_setting(experiment), bench)


def _measure_attention(measured: "_Rates", step: Stepper, size: int) -> None:
    """The same step with each of torch's kernels for attention."""
    if measured.bench.device.type != "cuda":
        return
    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
        measured.add(f"eager, {name} attention", step, size, lambda backend=backend: sdpa_kernel(backend))


def _measure_published(bench: Bench, measured: "_Rates") -> None:
    """Side A: half-precision weights and Adam, one group per tensor, every value read at once."""
    experiment = open_recipe(bench, RECIPE)
    setting = describe_setting(experiment)
    size = 8 if bench.quick else BATCH
    sizes = replace(SMALL if bench.quick else Architecture(), image_size=setting.image_size)
    torch.manual_seed(1)
    model = to_half(Irra(sizes, setting.identities or 0)).to(bench.device)
    optimizer = build_adam(model)
    batch = _publish(draw_pairs(setting.image_size, size, bench.device))

    def step() -> None:
        train_step(model, batch)
        optimizer.step()

    bench.forget_memory()
    seconds = bench.time(step)
    memory = bench.read_memory()
    flops = count_flops(lambda: train_step(model, batch))
    measured.record("published recipe, half weights", size, seconds, flops, memory)


def _publish(batch: Batch) -> dict[str, torch.Tensor]:
    """The batch under the published names."""
    masked, labels = mask_words(
        batch["tokens"], 0.15, caption_index=batch["caption_index"], seed=1, epoch=1, tokenizer=CLIP_TOKENIZER
    )
    return {
        "images": batch["images"],
        "pids": batch["identity"],
        "caption_ids": masked,
        "mlm_ids": masked,
        "mlm_labels": labels,
    }


class _Rates:
    """Measures steps and writes rows; the first one recorded is what the others are compared with."""

    def __init__(self, bench: Bench, table: Table) -> None:
        self.bench = bench
        self.table = table
        self.published = 0.0

    def add(
        self,
        name: str,
        step: Stepper,
        size: int,
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Measures one step, if there is time."""
        if not self.bench.has_time:
            return
        batch = draw_pairs(step.system.setting.image_size, size, self.bench.device)
        self.bench.forget_memory()
        try:
            with context():
                seconds = self.bench.time(lambda: step(batch))
                memory = self.bench.read_memory()
                self.record(name, size, seconds, step.count_flops(batch), memory)
        except torch.OutOfMemoryError:
            self.table.add(name, str(size), "out of memory", *["-"] * 4)

    def record(self, name: str, size: int, seconds: float, flops: int, memory: str) -> None:
        """Writes the row of a step over `size` pairs."""
        self.published = self.published or size / seconds
        times = size / seconds / self.published
        rate, cost, share = self.bench.describe(size, seconds, flops)
        self.table.add(name, str(size), rate, cost, f"{times:.2f}", share, memory)
