"""What tests of captions share: crops, plans over them, a command line."""

from pathlib import Path
from typing import Any

from PIL import Image

from tpr.captioning.engines import ENGINES, Engine
from tpr.captioning.listing import folder_source
from tpr.captioning.plan import CaptionPlan, Settings, choose_engine, write_plan
from tpr.captioning.shards import read_failures, read_parts
from tpr.captioning.texts import SHIPPED, read_texts
from tpr.captioning.worker import work_through
from tpr.config.resolved import plain_value
from tpr.config.typed import build_options
from tpr.locks import hold_folder

COLUMNS = ("file_path", "view", "caption", "template", "seed", "attempt", "identity")


def make_crops(root: Path, people: int = 5, each: int = 4) -> Path:
    """Small images in folders that are named by a number."""
    for person in range(people):
        folder = root / f"{person + 1:04d}"
        folder.mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", (8, 16), (person, number, 0)).save(folder / f"{person:02d}_{number}.jpg")
    return root


def make_plan(folder: Path, crops: Path, **options: Any) -> CaptionPlan:
    """A plan for `echo`; options: those of Settings, and of the engine under `engine`."""
    engine = choose_engine("echo", {"batch": 7, **options.pop("engine", {})})
    options = {"captions": {"static": 1, "dynamic": 1}, "shard_images": 3, **options}
    settings = build_options(Settings, plain_value(options), {})
    return write_plan(folder, folder_source(crops, "folder"), read_texts(SHIPPED), engine, settings)


def run_plan(plan: CaptionPlan, engine: Engine | None = None) -> None:
    """Work through a plan in this process."""
    with hold_folder(plan.folder):
        work_through(plan, engine or ENGINES[plan.engine.name](plan.engine.options), plan.root)


def rows_of(plan: CaptionPlan) -> list[dict[str, Any]]:
    """Every finished caption."""
    return [row for shard in range(plan.shards) for row in read_parts(plan, shard, COLUMNS)]


def failures_of(plan: CaptionPlan) -> list[dict[str, Any]]:
    """Every failure."""
    return [row for shard in range(plan.shards) for row in read_failures(plan, shard)]
