"""The training loader, from files to batches on the device, against the step that it feeds."""

import itertools
import time
from collections.abc import Iterator

from benchmarks.gpu.section import Bench, Section
from benchmarks.gpu.stepper import Stepper, describe_setting, open_recipe, with_runtime
from benchmarks.machine import count_cores
from benchmarks.project import open_training, write_cuhk_pedes
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import TrainLoader

BATCH = 64
IMAGES, SMALL_IMAGES = 12_000, 48
DISTINCT = 500
"""Images that are drawn; the others are copies of their files."""
WARM, STEPS = 40, 300


def run(bench: Bench, section: Section) -> None:
    """The loader alone, then a step on its batches against the same step on one that stays on the device."""
    workers = 2 if bench.quick else max(1, count_cores() - 2)
    batch = 8 if bench.quick else BATCH
    title = f"Loose JPEG files to batches of {batch} on the device, {workers} workers"
    table = section.add_table(title, "what", "pairs/s")
    folder = bench.folder / "loader"
    write_cuhk_pedes(folder, SMALL_IMAGES if bench.quick else IMAGES, DISTINCT)
    experiment = with_runtime(open_recipe(bench, "irra/cuhk_pedes.yaml"), precision="bf16")
    size = experiment.data.image_size
    corpus, data = open_training(folder, "cuhk_pedes", batch=batch, image_size=size)
    step = Stepper(experiment, describe_setting(experiment), bench)
    loader = TrainLoader(
        corpus,
        data,
        step.system.views(),
        seed=1,
        workers=workers,
        sampler="shuffled",
        device=bench.device,
    )
    steps = (2, 4) if bench.quick else (WARM, STEPS)
    table.add("the loader alone", f"{_read(bench, _repeat(loader), batch, *steps):,.0f}")
    still = next(loader.epoch(1))
    alone = batch / bench.time(lambda: step(still))
    table.add("the step alone", f"{alone:,.0f}")
    both = _read(bench, _repeat(loader), batch, *steps, step=step)
    table.add("the step on the loader's batches", f"{both:,.0f}")


def _repeat(loader: TrainLoader) -> Iterator[Batch]:
    """Epoch after epoch."""
    for number in itertools.count(1):
        yield from loader.epoch(number)


def _read(
    bench: Bench, batches: Iterator[Batch], size: int, warm: int, steps: int, *, step: Stepper | None = None
) -> float:
    """Pairs per second over `steps` batches, each trained on where a step is given."""
    start = 0.0
    for number, batch in enumerate(itertools.islice(batches, warm + steps)):
        if number == warm:
            bench.wait()
            start = time.perf_counter()
        if step is not None:
            step(batch)
    bench.wait()
    return steps * size / (time.perf_counter() - start)
