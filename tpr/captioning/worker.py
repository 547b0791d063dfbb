"""One process works through the shards of a plan; it may be stopped and started at will."""

import logging
import time
from dataclasses import replace
from pathlib import Path

from tpr.captioning.engines import Engine
from tpr.captioning.plan import CaptionPlan, choose_engine
from tpr.captioning.shard_work import ShardWorker
from tpr.captioning.shards import Marker, adopt_all_staged, forget_work, is_whole, read_markers
from tpr.config.resolved import plain_value
from tpr.errors import ConfigError
from tpr.report.console import format_duration

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


def find_finished(plan: CaptionPlan) -> dict[int, Marker]:
    """Markers of the shards that need no work, by number; clears up after a run that was killed."""
    adopt_all_staged(plan)
    finished = {}
    for marker in read_markers(plan):
        if is_whole(plan, marker):
            finished[marker.shard] = marker
            # Killed between the marker and here, a run leaves the journal behind.
            forget_work(plan, marker.shard)
        else:
            logger.warning("shard %05d: its files are not as written, it is done again", marker.shard)
    return finished


class Ticker:
    """A line every few seconds: how far, how fast, how long."""

    def __init__(self, plan: CaptionPlan, finished: dict[int, Marker]) -> None:
        self.plan = plan
        self.started = self.last_line = time.monotonic()
        self.done = sum(marker.requests for marker in finished.values())
        self.failed = sum(marker.failed for marker in finished.values())
        self.fresh = 0

    def add(self, marker: Marker, former: Marker | None = None) -> None:
        """A shard is finished; former: its marker before its failures were asked for again."""
        self.done += 0 if former else marker.requests
        self.failed += marker.failed - (former.failed if former else 0)
        self.say(0, is_due=self.done == self.plan.requests)

    def listen(self, answered: int, fresh: int) -> None:
        """Some captions of the shard at work are answered."""
        self.fresh += fresh
        self.say(answered)

    def say(self, answered: int, *, is_due: bool = False) -> None:
        """The line, if it is time for one. answered: captions of shards that are not finished."""
        now = time.monotonic()
        if not is_due and now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        done = min(self.done + answered, self.plan.requests)
        rate = self.fresh / max(now - self.started, 1e-9)
        left = format_duration((self.plan.requests - done) / rate) if rate else "?"
        logger.info(
            "%s of %s captions  %s requests/s  %s left  %s failed",
            f"{done:,}", f"{self.plan.requests:,}", f"{rate:,.1f}", left, f"{self.failed:,}",
        )  # fmt: skip


def work_through(plan: CaptionPlan, engine: Engine, root: Path, *, retry_failures: bool = False) -> None:
    """Every shard that is not done yet; retry_failures: then once more what had failed before.

    The caller holds the plan's lock. root: where the images lie on this machine.
    """
    finished = find_finished(plan)
    ticker = Ticker(plan, finished)
    worker = ShardWorker(plan, engine, root, ticker.listen)
    for shard in range(plan.shards):
        if shard not in finished:
            ticker.add(worker.work(shard))
    for marker in finished.values():
        if retry_failures and marker.failed:
            ticker.add(worker.retry(marker), marker)


def override_engine(plan: CaptionPlan, values: dict[str, object]) -> CaptionPlan:
    """The plan with engine options of this machine, such as a server's address. The model stays."""
    if "model" in values:
        raise ConfigError(
            "--engine-options model: the plan's model stays; make another plan for another model"
        )
    if not values:
        return plan
    options = {**plain_value(plan.engine.options), **values}
    return replace(plan, engine=choose_engine(plan.engine.name, options))
