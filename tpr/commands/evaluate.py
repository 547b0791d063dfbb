"""`tpr evaluate`: one checkpoint on all named test sets, one table."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tpr import distributed
from tpr.commands.resolve import resolve_checkpoint
from tpr.data.corpora import Corpora, load_split
from tpr.engine.precision import choose_device, choose_precision
from tpr.errors import ConfigError
from tpr.evaluation.evaluator import Evaluator
from tpr.report.console import configure_logging, say
from tpr.systems import load_system

EXAMPLES = """examples:
  tpr evaluate runs/drawn-pretrain/best.pt
  tpr evaluate irra_cuhk.pth data.root=/data data.test=[cuhk_pedes,rstpreid] --intervals"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="one checkpoint on all named sets",
        description="Retrieval of a checkpoint, ours or an official file, on the test split of each set.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("arguments", nargs="*", metavar="key=value")
    parser.add_argument("--intervals", action="store_true", help="add 95 %% bootstrap intervals over identities")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of a table")
    parser.set_defaults(run=run)
