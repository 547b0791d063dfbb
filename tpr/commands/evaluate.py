"""`tpr evaluate`: one checkpoint on all named test sets, one table."""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from tpr import distributed
from tpr.commands.arguments import add_command, typed
from tpr.commands.resolve import resolve_checkpoint
from tpr.data.tables.corpora import load_corpora
from tpr.engine.precision import choose_device, choose_precision
from tpr.errors import ConfigError, explain_disk
from tpr.evaluation.evaluator import Evaluator
from tpr.evaluation.query_table import QUERIES_SUFFIX, write_queries
from tpr.evaluation.rows import Results
from tpr.report.console import configure_logging, say
from tpr.report.result_table import draw_table
from tpr.systems import load_system

logger = logging.getLogger(__name__)

EXAMPLES = """examples:
  tpr evaluate runs/drawn-pretrain/best.pt
  tpr evaluate irra_cuhk.pth data.root=/data data.test=[cuhk_pedes,rstpreid] --intervals"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr evaluate`."""
    parser = add_command(
        subparsers,
        "evaluate",
        "one checkpoint on all named datasets",
        run,
        description="Retrieval of a checkpoint, ours or an official file, on the test split of each dataset.",
        epilog=EXAMPLES,
    )
    parser.add_argument("checkpoint", type=typed(Path))
    parser.add_argument("arguments", nargs="*", default=[], metavar="key=value")
    parser.add_argument("--intervals", action="store_true", help="add 95 %% intervals over identities")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of a table")
    parser.add_argument(
        "--queries",
        type=typed(Path),
        metavar="FILE.parquet",
        help="keep what each query found, for `tpr report compare` and `tpr report look`",
    )


def run(namespace: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    overrides = list(namespace.arguments)
    if namespace.intervals:
        overrides.append("evaluation.intervals=true")
    queries: Path | None = namespace.queries
    if queries is not None and (queries.suffix != QUERIES_SUFFIX or not queries.parent.is_dir()):
        raise ConfigError(f"--queries {queries}: expected a file {QUERIES_SUFFIX} in a folder that exists")
    experiment = resolve_checkpoint(namespace.checkpoint, overrides)
    if not experiment.data.test:
        raise ConfigError("data.test: nothing to evaluate on; add data.test=[cuhk_pedes] or other datasets")
    device = choose_device(experiment.runtime)
    distributed.start(device, experiment.runtime.timeout_seconds)
    configure_logging(None, main=distributed.is_main_rank())
    system = load_system(namespace.checkpoint, device, experiment=experiment)
    with distributed.main_rank_first():
        corpora = load_corpora(replace(experiment.data, train=()), experiment.evaluation, experiment.seed)
    precision = choose_precision(experiment.runtime, device)
    evaluator = Evaluator(experiment, corpora, device=device, autocast=precision.autocast)
    evaluator.check(system)
    results = evaluator.evaluate(system, "test")
    if distributed.is_main_rank():
        title = f"{namespace.checkpoint}, test sets, %"
        say(json.dumps(results.to_json(), indent=2) if namespace.json else draw_table(results, title))
        if queries is not None:
            keep_queries(queries, results)
    distributed.stop()
    return 0


def keep_queries(path: Path, results: Results) -> None:
    """Write what each query found. Raises DataError in one line where the file cannot be written."""
    try:
        write_queries(path, results.list_queries())
    except OSError as error:
        raise explain_disk(error, path) from error
