"""What `tpr caption status`, `merge` and `verify` do."""

import argparse
from collections.abc import Sequence

from prettytable import PrettyTable

from tpr.captioning.plan import read_plan
from tpr.captioning.progress import PlanProgress, measure_progress
from tpr.errors import ConfigError
from tpr.report.console import format_duration, say


def run_status(namespace: argparse.Namespace) -> int:
    """Counts, and if asked statistics."""
    plan = read_plan(namespace.plans[0])
    progress = measure_progress(plan)
    say(str(make_table(progress)))
    for reason, count in progress.reasons.items():
        say(f"failed: {reason}: {count:,}")
    if namespace.statistics or namespace.plot:
        from tpr.captioning.statistics import HEADER, list_rows, measure_statistics

        found = measure_statistics(plan)
        table = PrettyTable(HEADER)
        table.align = "r"
        table.add_rows(list_rows(found))
        say(str(table))
        if namespace.plot:
            from tpr.captioning.statistics_plot import draw_statistics

            draw_statistics(namespace.plot, found)
            say(f"{namespace.plot}: lengths, mentions and openings")
    return 0


def make_table(progress: PlanProgress) -> PrettyTable:
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


def run_merge(namespace: argparse.Namespace) -> int:
    """Write a corpus."""
    from tpr.captioning.forms import PROVENANCE, write_corpus
    from tpr.captioning.merge import Merge

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
    from tpr.captioning.verify import verify_plan

    plan = read_plan(namespace.plans[0])
    verdict = verify_plan(plan)
    say(
        f"{plan.folder}: every one of {verdict.requests:,} requests is answered once: {verdict.captions:,} "
        f"captions, {verdict.failed:,} failures"
    )
    return 0
