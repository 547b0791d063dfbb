"""`tpr caption`: captions for a folder or a data set by a model: plan, run, status, merge, verify."""

import argparse
import logging
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from prettytable import PrettyTable

from tpr.captioning.engines import ENGINES
from tpr.captioning.forms import FORMS, PROVENANCE, write_corpus
from tpr.captioning.listing import Source, adapter_source, folder_source
from tpr.captioning.merge import Merge
from tpr.captioning.plan import Settings, choose_engine, read_plan, write_plan
from tpr.captioning.progress import Progress, measure_progress
from tpr.captioning.statistics import HEADER, list_rows, measure_statistics
from tpr.captioning.statistics_picture import draw_statistics
from tpr.captioning.texts import read_texts
from tpr.captioning.verify import verify_plan
from tpr.captioning.worker import Worker, hold_lock, override_engine
from tpr.commands.data import parse_values
from tpr.config.schema import Choice
from tpr.config.typed import build_options
from tpr.data.adapters import ADAPTERS
from tpr.errors import ConfigError, DataError
from tpr.report.console import format_duration, say
from tpr.systems import TABLES

logger = logging.getLogger(__name__)

EXAMPLES = """examples:
  tpr caption plan crops plans/first --engine echo
  tpr caption run plans/first
  tpr caption status plans/first --statistics
  tpr caption merge plans/first --form ham_pedes --out data/HAM-PEDES"""
PLAN_EXAMPLES = """examples:
  tpr caption plan crops plans/first --captions static=1 dynamic=1 --engine echo
  tpr caption plan luperson_mllm plans/second --root /data --images 100000 --captions dynamic=2
  tpr caption plan crops plans/third --identity folder --engine-options batch=64"""


class Stopped(BaseException):
    """SIGTERM or Ctrl-C: not an error, and nothing may swallow it."""

    def __init__(self, number: int) -> None:
        self.number = number


def add_parser(subparsers: Any) -> None:
    """Register `tpr caption` and its commands."""
    parser = subparsers.add_parser(
        "caption",
        help="let a model write captions",
        description="Captions for pictures by a model, in shards that can be stopped and gone on with.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="caption_command", required=True, metavar="COMMAND")
    _add_plan(commands)
    _add_run(commands)
    status = _add_command(commands, "status", run_status, "how far a plan is", plans=1)
    status.add_argument("--statistics", action="store_true", help="also lengths, openings, slots, n-grams")
    status.add_argument("--picture", metavar="FILE.png", type=Path, help="draw the statistics")
    _add_merge(commands)
    _add_command(commands, "verify", run_verify, "is every caption there exactly once", plans=1)


def _add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, *, plans: int | str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if plans:
        parser.add_argument("plans", metavar="PLAN", nargs=plans, type=Path, help="folder of a plan")
    parser.set_defaults(run=lambda namespace: _mend_disk_errors(run, namespace))
    return parser


def _mend_disk_errors(run: Callable[[argparse.Namespace], int], namespace: argparse.Namespace) -> int:
    """A full disk or a locked folder is one line."""
    try:
        return run(namespace)
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise DataError(
            f"{place}{error.strerror or error}; free the disk or unlock the folder, then start again"
        ) from error


def _add_plan(commands: Any) -> None:
    plan = _add_command(commands, "plan", run_plan, "choose pictures, captions and engine", plans=0)
    plan.epilog = PLAN_EXAMPLES
    plan.add_argument("source", metavar="SOURCE", help=f"folder of pictures, or one of {', '.join(ADAPTERS)}")
    plan.add_argument("folder", metavar="PLAN", type=Path, help="folder to write the plan into")
    plan.add_argument(
        "--captions",
        nargs="+",
        default=["static=1", "dynamic=1"],
        metavar="kind=COUNT",
        help="captions of each picture, by kind of instruction; default: static=1 dynamic=1",
    )
    plan.add_argument(
        "--engine", default="echo", metavar="NAME", help=f"of {', '.join(ENGINES)}; default: echo"
    )
    _add_words(plan, "--engine-options", "options of the engine")
    _add_words(
        plan, "--filters", "which captions are accepted: min_words, max_words, full_stop, english, duplicates"
    )
    plan.add_argument("--attempts", type=int, default=5, help="per caption; default: %(default)s")
    plan.add_argument("--seed", type=int, default=0, help="of every draw; default: %(default)s")
    plan.add_argument("--styles", type=int, default=0, metavar="N", help="the model's styles; default: none")
    plan.add_argument("--images", type=int, metavar="N", help="so many pictures at random; default: all")
    plan.add_argument("--shard-pictures", type=int, default=2048, metavar="N", help="default: %(default)s")
    plan.add_argument("--texts", type=Path, metavar="FOLDER", help="instructions.yaml and templates.txt")
    plan.add_argument("--root", type=Path, help="data root of a set; default: TPR_DATA, else data")
    plan.add_argument("--split", choices=["train", "val", "test"], default="train", help="of a set")
    _add_words(plan, "--options", "options of the set")
    plan.add_argument(
        "--identity",
        choices=["none", "folder"],
        default="none",
        help="of a folder's pictures: not known, or the nearest folder that is a number",
    )


def _add_words(parser: argparse.ArgumentParser, name: str, summary: str) -> None:
    parser.add_argument(name, nargs="+", default=[], metavar="key=value", help=summary)


def _add_run(commands: Any) -> None:
    run = _add_command(commands, "run", run_run, "work through a plan; stop and start it at will", plans=1)
    run.add_argument("--root", type=Path, help="where the pictures lie on this machine")
    _add_words(run, "--engine-options", "options for this machine, such as batch=64")


def _add_merge(commands: Any) -> None:
    merge = _add_command(commands, "merge", run_merge, "finished captions as a corpus", plans="+")
    merge.add_argument("--form", required=True, choices=list(FORMS), help="what to write")
    merge.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="folder to write into")
    merge.add_argument(
        "--labels", nargs="+", default=[], metavar="NAME", help="names of models, for file names"
    )
    merge.add_argument("--prefix", default="", metavar="PATH", help="written before every picture path")
    merge.add_argument("--view", metavar="NAME", help="the caption to take where a form has room for one")
    merge.add_argument("--partial", action="store_true", help="also merge a plan that is not done")


def run_plan(namespace: argparse.Namespace) -> int:
    """Write a plan."""
    options = {
        "captions": parse_values(namespace.captions),
        "filters": parse_values(namespace.filters),
        "attempts": namespace.attempts,
        "seed": namespace.seed,
        "styles": namespace.styles,
        "shard_pictures": namespace.shard_pictures,
    }
    settings = build_options(Settings, options, TABLES)
    if namespace.images is not None and namespace.images < 1:
        raise ConfigError(f"--images must be at least 1, got {namespace.images}")
    engine = choose_engine(namespace.engine, parse_values(namespace.engine_options))
    texts = read_texts(namespace.texts)
    source = choose_source(namespace)
    plan = write_plan(namespace.folder, source, texts, engine, settings, images=namespace.images)
    say(
        f"{plan.folder}: {plan.pictures:,} pictures, {plan.requests:,} captions in {plan.shards:,} shards, "
        f"engine {plan.engine.name}, fingerprint {plan.fingerprint}"
    )
    return 0


def choose_source(namespace: argparse.Namespace) -> Source:
    """A data set by its name, anything else is a folder."""
    if namespace.source not in ADAPTERS:
        if not Path(namespace.source).is_dir():
            raise ConfigError(
                f"SOURCE: '{namespace.source}' is neither a folder nor a set; sets: {', '.join(ADAPTERS)}"
            )
        return folder_source(Path(namespace.source), namespace.identity)
    options = build_options(
        ADAPTERS[namespace.source].Options, parse_values(namespace.options), TABLES, namespace.source
    )
    return adapter_source(Choice(namespace.source, options), namespace.split, namespace.root)


def run_run(namespace: argparse.Namespace) -> int:
    """Work until the plan is done or a signal comes."""
    plan = read_plan(namespace.plans[0])
    plan = override_engine(plan, parse_values(namespace.engine_options))
    root = namespace.root or plan.root
    if not root.is_dir():
        raise DataError(
            f"{root}: the plan's pictures are not there; --root names their folder on this machine"
        )
    former = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with hold_lock(plan):
            engine = ENGINES[plan.engine.name](plan.engine.options)
            try:
                Worker(plan, engine, root).run()
            finally:
                engine.close()
    except Stopped as stop:
        progress = measure_progress(plan)
        say(f"stopped; {progress.shards:,} of {plan.shards:,} shards are done, start again to go on")
        return 128 + stop.number
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    progress = measure_progress(plan)
    say(f"{plan.folder}: {progress.captions:,} captions, {progress.failed:,} failed{_list_reasons(progress)}")
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)
    raise Stopped(number)


def run_status(namespace: argparse.Namespace) -> int:
    """Counts, and if asked statistics."""
    plan = read_plan(namespace.plans[0])
    progress = measure_progress(plan)
    say(str(make_table(progress)))
    for reason, count in progress.reasons.items():
        say(f"failed: {reason}: {count:,}")
    if namespace.statistics or namespace.picture:
        found = measure_statistics(plan)
        table = PrettyTable(HEADER)
        table.align = "r"
        table.add_rows(list_rows(found))
        say(str(table))
        if namespace.picture:
            draw_statistics(namespace.picture, found)
            say(f"{namespace.picture}: lengths, mentions and openings")
    return 0


def make_table(progress: Progress) -> PrettyTable:
    """One row: progress of a plan."""
    plan = progress.plan
    left = progress.seconds_left
    table = PrettyTable(
        ["shards", "answered", "captions", "failed", "retries", "requests/s", "time left", "running"]
    )
    table.align = "r"
    table.add_row(
        [
            f"{progress.shards:,} of {plan.shards:,}",
            f"{progress.answered:,} of {plan.requests:,}",
            f"{progress.captions:,}",
            f"{progress.failed:,}",
            f"{progress.retries:,}",
            "-" if progress.rate is None else f"{progress.rate:,.1f}",
            "-" if left is None else format_duration(left),
            "yes" if progress.is_running else "no",
        ]
    )
    return table


def _list_reasons(progress: Progress) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in progress.reasons.items())
    return f" ({reasons})" if reasons else ""


def run_merge(namespace: argparse.Namespace) -> int:
    """Write a corpus."""
    merge = Merge(
        plans=[read_plan(folder) for folder in namespace.plans],
        out=namespace.out,
        labels=tuple(check_labels(namespace.labels)),
        prefix=namespace.prefix,
        view=namespace.view,
        is_partial=namespace.partial,
    ).check()
    merged = write_corpus(merge, namespace.form)
    for name, count in merged.files.items():
        say(f"{namespace.out / name}: {count:,} captions")
    say(f"{merged.failed:,} failed requests in failures.jsonl; {PROVENANCE} tells what made them")
    return 0


def check_labels(labels: Sequence[str]) -> Sequence[str]:
    """Labels become names of files. Raises ConfigError."""
    for label in labels:
        if not label.replace("-", "").replace("_", "").replace(".", "").isalnum() or label.startswith("."):
            raise ConfigError(
                f"--labels: '{label}' cannot be part of a file name; use letters, digits, - _ ."
            )
    if len(set(labels)) < len(labels):
        raise ConfigError(f"--labels: {' '.join(labels)}: each name once")
    return labels


def run_verify(namespace: argparse.Namespace) -> int:
    """Look into every shard."""
    plan = read_plan(namespace.plans[0])
    verdict = verify_plan(plan)
    say(
        f"{plan.folder}: every one of {verdict.requests:,} requests is answered once: {verdict.captions:,} "
        f"captions, {verdict.failed:,} failures"
    )
    return 0
