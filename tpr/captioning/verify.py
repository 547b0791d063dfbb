"""Whether every request of a plan is answered exactly once, or is in the failures."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from tpr.captioning.draws import draw_seed, draw_template
from tpr.captioning.plan import CaptionPlan, check_listing
from tpr.captioning.shards import Marker, is_as_written, read_failures, read_markers, read_parts
from tpr.errors import DataError

COLUMNS = ("file_path", "view", "seed", "template", "style", "attempt", "caption")


class Verdict(NamedTuple):
    """Counts of a plan that is as it should be."""

    requests: int
    captions: int
    failed: int


def verify_plan(plan: CaptionPlan) -> Verdict:
    """Look into every shard. Raises DataError in one line with the first problem and their number."""
    check_listing(plan)
    markers = {marker.shard: marker for marker in read_markers(plan)}
    missing = [shard for shard in range(plan.shards) if shard not in markers]
    if missing:
        raise DataError(
            f"{plan.folder}: {len(missing):,} of {plan.shards:,} shards are not done, the first is "
            f"{missing[0]:05d}; `tpr caption run` goes on"
        )
    problems = [problem for marker in markers.values() for problem in find_problems(plan, marker)]
    if problems:
        more = f", and {len(problems) - 1:,} more" if len(problems) > 1 else ""
        raise DataError(f"{plan.folder}: {problems[0]}{more}")
    captions = sum(marker.captions for marker in markers.values())
    failed = sum(marker.failed for marker in markers.values())
    if captions + failed != plan.requests:
        raise DataError(f"{plan.folder}: {captions + failed:,} answers to {plan.requests:,} requests")
    return Verdict(plan.requests, captions, failed)


def find_problems(plan: CaptionPlan, marker: Marker) -> Iterator[str]:
    """What is wrong with one shard, a line each."""
    name = f"shard {marker.shard:05d}"
    if not is_as_written(plan, marker):
        yield f"{name}: its files are not as written; remove its marker in done/ and run the plan again"
        return
    rows = read_parts(plan, marker.shard, COLUMNS)
    failures = list(read_failures(plan, marker.shard))
    if (len(rows), len(failures)) != (marker.captions, marker.failed):
        yield f"{name}: {len(rows):,} captions and {len(failures):,} failures, its marker says otherwise"
    counts = Counter((row["file_path"], row["view"]) for row in (*rows, *failures))
    for entry in plan.entries(marker.shard):
        for view in plan.views:
            count = counts.pop((entry.image, view.name), 0)
            if count != 1:
                yield f"{name}: {entry.image} {view.name} is answered {count} times"
    for image, view_name in counts:
        yield f"{name}: {image} {view_name} was not asked for"
    yield from (problem for row in rows for problem in check_draws(plan, name, row))


def check_draws(plan: CaptionPlan, name: str, row: dict[str, Any]) -> Iterator[str]:
    """Whether a caption has the seed, template and style that the plan draws for it."""
    seed, image, view_name, attempt = plan.settings.seed, row["file_path"], row["view"], row["attempt"]
    view = next((view for view in plan.views if view.name == view_name), None)
    template = None
    if view is not None and view.takes_template:
        template = draw_template(seed, image, view_name, attempt, len(plan.texts.templates))
    style = None if view is None else plan.choose_style(image, view, attempt)
    drawn = (draw_seed(seed, image, view_name, attempt), template, style)
    if (row["seed"], row["template"], row["style"]) != drawn:
        yield f"{name}: {image} {view_name} has a seed, template or style that the plan does not draw"
    if not row["caption"]:
        yield f"{name}: {image} {view_name} is empty"
