"""One training step of every other system at its published size."""

from dataclasses import dataclass, replace

from benchmarks.gpu.section import Bench, Section
from benchmarks.gpu.stepper import (
    Stepper,
    describe_setting,
    draw_pairs,
    draw_slots,
    open_recipe,
    with_runtime,
)
from tpr.data.samples.batch import Batch


@dataclass(frozen=True)
class Recipe:
    """A step that is measured."""

    name: str
    config: str
    words: tuple[str, ...] = ()
    """Settings on top."""
    batch: int = 64
    has_slots: bool = False
    """Samples are slots of visible and infrared images."""


TEXT = ("model.text_weights=null",)
RECIPES = (
    Recipe("mllm4text, noise-aware masking", "mllm4text/pretrain_1m.yaml"),
    Recipe("mllm4text, equal masking", "mllm4text/pretrain_1m.yaml", ("system.masking=equal",)),
    Recipe("rde", "rde/cuhk_pedes.yaml", ("system.division.warmup_epochs=1",)),
    Recipe("tvi_lfm, base training", "tvi_lfm/sysu_mm01_base.yaml", TEXT, 32, has_slots=True),
    Recipe("tvi_lfm, with text", "tvi_lfm/sysu_mm01.yaml", TEXT, 32, has_slots=True),
)


def run(bench: Bench, section: Section) -> None:
    """The published batch, one caption an image."""
    columns = ["step", "batch", "samples/s", "ms", "share of peak", "memory, GiB"]
    table = section.add_table("One training step of the other systems", *columns)
    for recipe in RECIPES:
        count = 8 if bench.quick else recipe.batch
        step, batch = open_step(bench, recipe, count)
        bench.forget_memory()
        seconds = bench.time(lambda step=step, batch=batch: step(batch))
        memory = bench.read_memory()
        table.add(recipe.name, str(count), *bench.describe(count, seconds, step.count_flops(batch)), memory)


def open_step(bench: Bench, recipe: Recipe, count: int, *, compile: bool = False) -> tuple[Stepper, Batch]:
    """The system in training with fresh weights, and a batch of so many samples on the device."""
    experiment = open_recipe(bench, recipe.config, "data.captions_per_image=1", *recipe.words)
    experiment = with_runtime(experiment, precision="bf16", compile=compile)
    draw = draw_slots if recipe.has_slots else draw_pairs
    batch = draw(experiment.data.image_size, count, bench.device)
    return Stepper(experiment, replace(describe_setting(experiment), captions=1000), bench), batch
