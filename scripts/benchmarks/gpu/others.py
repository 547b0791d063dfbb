"""One training step of every other system at its published size, eager and compiled."""

from dataclasses import replace

import torch

from benchmarks.gpu.section import Bench, Section, Table
from benchmarks.gpu.stepper import (
    Stepper,
    describe_setting,
    draw_pairs,
    draw_slots,
    open_recipe,
    with_runtime,
)

PAIRS, SLOTS = 64, 32
RECIPES = (
    ("mllm4text, noise-aware masking", "mllm4text/pretrain_1m.yaml", ()),
    ("mllm4text, equal masking", "mllm4text/pretrain_1m.yaml", ("system.masking=equal",)),
    ("rde", "rde/cuhk_pedes.yaml", ("system.division.warmup_epochs=1",)),
    ("tvi_lfm, base training", "tvi_lfm/sysu_mm01_base.yaml", ()),
    ("tvi_lfm, with text", "tvi_lfm/sysu_mm01.yaml", ()),
)


def run(bench: Bench, section: Section) -> None:
    """The eager steps; `--full` compiles them as well, a minute each."""
    columns = ["step", "samples", "eager, samples/s", "share of peak", "memory, GiB", "compiled, samples/s"]
    table = Table("One training step of the other systems", columns)
    section.tables.append(table)
    for name, recipe, words in RECIPES:
        _, cells = _measure(bench, recipe, words, compile=False)
        table.rows.append([name, *cells, "-"])
    for place, (_, recipe, words) in enumerate(RECIPES):
        if not (bench.has_time and (bench.full or bench.quick)):
            break
        rate, _ = _measure(bench, recipe, words, compile=True)
        table.rows[place] = [*table.rows[place][:-1], f"{rate:,.0f}"]


def _measure(bench: Bench, recipe: str, words: tuple[str, ...], *, compile: bool) -> tuple[float, list[str]]:
    """Samples per second; and samples, rate, share of peak and memory as text."""
    text = ("model.text_weights=null",) if recipe.startswith("tvi_lfm") else ()
    experiment = open_recipe(bench, recipe, "data.captions_per_image=1", *text, *words)
    experiment = with_runtime(experiment, precision="bf16", compile=compile)
    torch.compiler.reset()
    step = Stepper(experiment, replace(describe_setting(experiment), captions=1000), bench)
    draw, count = (draw_slots, SLOTS) if text else (draw_pairs, PAIRS)
    if bench.quick:
        count = 8
    batch = draw(experiment.data.image_size, count, bench.device)
    bench.forget_memory()
    seconds = bench.time(lambda: step(batch))
    memory = bench.read_memory()
    share = 0.0 if compile else step.count_flops(batch) / seconds / bench.peak
    rate = count / seconds
    return rate, [str(count), f"{rate:,.0f}", f"{100 * share:.1f} %", memory]
