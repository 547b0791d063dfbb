"""What `tpr caption run` does: this process, or workers that Ray starts, work until the plan is done."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tpr.captioning.engines import ENGINES
from tpr.captioning.plan import CaptionPlan, read_plan
from tpr.captioning.progress import PlanProgress, measure_progress
from tpr.captioning.worker import override_engine, work_through
from tpr.config.yaml_entries import parse_values
from tpr.errors import ConfigError, DataError
from tpr.locks import hold_folder
from tpr.report.console import say

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """SIGTERM or Ctrl-C: not an error, and nothing may swallow it."""

    def __init__(self, number: int) -> None:
        self.number = number


def run_run(namespace: argparse.Namespace) -> int:
    """Work until the plan is done or a signal comes."""
    plan = read_plan(namespace.plans[0])
    plan = override_engine(plan, parse_values(namespace.engine_options))
    root = (namespace.root or plan.root).absolute()
    if not plan.rephrases and not root.is_dir():
        raise DataError(f"{root}: the plan's images are not there; --root names their folder on this machine")
    try:
        with stopped_by_signals(), hold_folder(plan.folder):
            if namespace.ray is not None:
                run_by_ray(plan, root, namespace)
            else:
                run_here(plan, root, namespace)
    except Stopped as stop:
        progress = measure_progress(plan)
        say(f"stopped; {progress.shards:,} of {plan.shards:,} shards are done, start again to go on")
        return 128 + stop.number
    progress = measure_progress(plan)
    say(f"{plan.folder}: {progress.captions:,} captions, {progress.failed:,} failed{_list_reasons(progress)}")
    return 0


def run_here(plan: CaptionPlan, root: Path, namespace: argparse.Namespace) -> None:
    """Work in this process."""
    if namespace.workers is not None:
        raise ConfigError("--workers: goes with --ray; without it one process works through the plan")
    engine = ENGINES[plan.engine.name](plan.engine.options)
    try:
        work_through(plan, engine, root, retry_failures=namespace.retry_failures)
    finally:
        engine.close()


def run_by_ray(plan: CaptionPlan, root: Path, namespace: argparse.Namespace) -> None:
    """Hand the shards out to workers of a Ray cluster."""
    from tpr.captioning.ray_run import run_on_ray, started_ray

    # Ray takes SIGTERM for itself when it starts.
    with started_ray(namespace.ray, namespace.workers), stopped_by_signals():
        run_on_ray(plan, root, workers=namespace.workers, retry_failures=namespace.retry_failures)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Context in which the two signals raise `Stopped`."""
    former = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    for again in SIGNALS:
        signal.signal(again, signal.SIG_IGN)
    raise Stopped(number)


def _list_reasons(progress: PlanProgress) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in progress.reasons.items())
    return f" ({reasons})" if reasons else ""
