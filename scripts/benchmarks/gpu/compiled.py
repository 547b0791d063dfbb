"""The same steps compiled (`runtime.compile=true`), and how long compiling takes.

A step that does not compile is a failed check; the next one is tried all the same.
"""

import time

import torch

from benchmarks.gpu.others import RECIPES, Recipe, open_step
from benchmarks.gpu.section import Bench, Section
from benchmarks.gpu.steps import ALONE, RECIPE

IRRA = Recipe("irra, SDM + ID + MLM", RECIPE)
IRRA_ALONE = Recipe("irra, SDM", RECIPE, ALONE)


def run(bench: Bench, section: Section) -> None:
    """The published batch and four of it; `--full` adds SDM alone and the other systems, a minute each."""
    columns = ["step", "batch", "samples/s", "ms", "share of peak", "memory, GiB", "first step, s"]
    table = section.add_table("One compiled training step", *columns)
    plan = [(IRRA, IRRA.batch), (IRRA, 4 * IRRA.batch)]
    if bench.full or bench.quick:
        plan += [(recipe, recipe.batch) for recipe in (*RECIPES, IRRA_ALONE)]
    for recipe, batch in plan:
        if bench.has_time:
            table.add(*_measure(bench, section, recipe, 8 if bench.quick else batch))


def _measure(bench: Bench, section: Section, recipe: Recipe, count: int) -> list[str]:
    # What was compiled for another batch would make torch look for code that serves every size.
    torch.compiler.reset()
    step, batch = open_step(bench, recipe, count, compile=True)
    bench.forget_memory()
    start = time.perf_counter()
    label = f"{recipe.name}, batch {count}"
    try:
        step(batch)
        bench.wait()
    except Exception as error:
        section.check(f"{label}: compiles", False, f"{type(error).__name__}: {str(error)[-600:]}")
        return [recipe.name, str(count), "failed", *["-"] * 4]
    first = time.perf_counter() - start
    section.check(f"{label}: compiles", True, f"{first:.0f} s")
    seconds = bench.time(lambda: step(batch))
    memory = bench.read_memory()
    costs = bench.describe(count, seconds, step.count_flops(batch))
    return [recipe.name, str(count), *costs, memory, f"{first:.0f}"]
