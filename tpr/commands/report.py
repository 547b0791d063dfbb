"""`tpr report`: runs in one table and as curves, two runs compared query by query, or one looked at."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tpr.captioning.colours import WORDS
from tpr.commands.arguments import add_command, type_word, typed
from tpr.config.ranges import Count
from tpr.engine.run_folder import CONFIG_FILE
from tpr.errors import ConfigError
from tpr.report.comparing import tabulate_differences
from tpr.report.console import say
from tpr.report.looking import look_at
from tpr.report.queries import read_queries_of
from tpr.report.runs import group_seeds, locate_run, read_runs, tabulate_runs

EXAMPLES = """examples:
  tpr report runs/drawn-pretrain runs/drawn-finetune
  tpr report runs/irra-cuhk_pedes-seed1 runs/irra-cuhk_pedes-seed2 --each --curves curves.png
  tpr report compare runs/irra-cuhk_pedes runs/rde-cuhk_pedes
  tpr report look runs/irra-cuhk_pedes --worst 20"""
USAGE = """
  tpr report RUN [RUN ...] [--each] [--curves FILE.png] [--markdown]
  tpr report compare RUN RUN [--markdown]
  tpr report look RUN [key=value ...] [--worst N] [--markdown]"""
WORST = 10
OWN_OPTIONS = {"--each": "", "--curves": "", "--worst": "look"}
"""Options that one kind of report has, by its first word."""


def add_parser(subparsers: Any) -> None:
    """Register `tpr report`."""
    parser = add_command(
        subparsers,
        "report",
        "one table over runs, two compared, one looked at",
        run,
        usage=USAGE,
        description="Runs side by side on all test datasets; runs that differ in their seed alone are one "
        "row, mean ± standard deviation. `compare` says how far two runs are apart on the same queries, with "
        "intervals; `look` which queries of one run are hard.",
        epilog=EXAMPLES,
    )
    parser.add_argument("arguments", nargs="+", metavar="RUN", help="a run folder, or a file in one")
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead of a text table")
    parser.add_argument(
        "--each", action="store_true", help="show every seed's run below the row of their mean"
    )
    parser.add_argument(
        "--curves", type=typed(Path), metavar="FILE.png", help="draw loss and R@1 in the course of the runs"
    )
    parser.add_argument(
        "--worst", type=typed(Count), metavar="N", help=f"queries that `look` lists, {WORST} by default"
    )


def run(namespace: argparse.Namespace) -> int:
    """The kind of report that the first word names; without one, the table over runs."""
    kinds: dict[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
        "compare": run_compare,
        "look": run_look,
    }
    words: list[str] = namespace.arguments
    kind = words[0] if words[0] in kinds else ""
    for option, owner in OWN_OPTIONS.items():
        if getattr(namespace, option.removeprefix("--")) and owner != kind:
            raise ConfigError(f"{option}: only {f'tpr report {owner}'.strip()} has it; leave it out here")
    if kind:
        kinds[kind](namespace, words[1:])
    else:
        run_table(namespace)
    return 0


def run_table(namespace: argparse.Namespace) -> None:
    """Read the runs, draw their curves where asked, print their table."""
    groups = group_seeds(read_runs([type_word(word, Path) for word in namespace.arguments]))
    image: Path | None = namespace.curves
    if image is not None:
        # Imported here: matplotlib takes half a second, and all other commands need not wait for it.
        from tpr.report.curves import draw_curves

        draw_curves(image, groups)
    say(tabulate_runs(groups, each=namespace.each, markdown=namespace.markdown))
    if image is not None:
        say(f"\n![learning curves]({image})" if namespace.markdown else f"curves:      {image}")


def run_compare(namespace: argparse.Namespace, words: Sequence[str]) -> None:
    """Print how far two runs are apart."""
    if len(words) != 2:
        raise ConfigError(f"tpr report compare: expected two runs, got {len(words)}")
    one, other = (read_queries_of(type_word(word, Path)) for word in words)
    say(tabulate_differences(one, other, (words[0], words[1]), markdown=namespace.markdown))


def run_look(namespace: argparse.Namespace, words: Sequence[str]) -> None:
    """Print which queries of a run are hard, with its data, which it reads as its config says."""
    if not words:
        raise ConfigError("tpr report look: expected a run; `tpr report --help` shows what is expected")
    # Imported here: every system and the readers of data take seconds, and no other report needs them.
    from tpr.commands.resolve import resolve_experiment
    from tpr.data.tables.corpora import load_corpora

    path = type_word(words[0], Path)
    folder = locate_run(path)
    found = read_queries_of(path)
    experiment = resolve_experiment([str(folder / CONFIG_FILE), *words[1:]])
    corpora = load_corpora(replace(experiment.data, train=()), experiment.evaluation, experiment.seed).test
    named = {label: table for label, table in found.items() if label.dataset in corpora}
    if not named:
        measured = ",".join(dict.fromkeys(label.dataset for label in found))
        raise ConfigError(f"data.test names nothing that {path} was measured on; say data.test=[{measured}]")
    worst = namespace.worst or WORST
    say(look_at(named, corpora, words=WORDS.split(), worst=worst, markdown=namespace.markdown))
