"""`tpr show`: every resolved option of a config with the place its value came from."""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tpr.commands.arguments import add_command, typed
from tpr.config.reader import Tree, read_tree
from tpr.config.resolved import dump_value
from tpr.config.schema import Experiment
from tpr.config.typed import build_experiment, to_tree
from tpr.report.console import say
from tpr.systems import TABLES

EXAMPLES = """examples:
  tpr show configs/irra/cuhk_pedes.yaml
  tpr show configs/drawn/pretrain.yaml optim.lr=2e-4 data.test=[rstpreid]"""
WIDEST_VALUE = 60
"""Longer values push their own origin to the right, not everybody's."""


def add_parser(subparsers: Any) -> None:
    """Register `tpr show`."""
    parser = add_command(
        subparsers,
        "show",
        "print each option of a config with its origin",
        run,
        description="Print each resolved option with the file and line, or the override, that set it.",
        epilog=EXAMPLES,
    )
    parser.add_argument("config", type=typed(Path), metavar="CONFIG")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")


def run(namespace: argparse.Namespace) -> int:
    """Print the resolved config."""
    tree = read_tree(namespace.config, namespace.overrides)
    say(show_experiment(build_experiment(tree, TABLES), tree))
    return 0


def show_experiment(experiment: Experiment, tree: Tree) -> str:
    """One aligned line per option: dotted name, value as YAML, origin."""
    rows = [
        (name, dump_value(value), find_origin(name, tree)) for name, value in flatten(to_tree(experiment))
    ]
    names = max(len(name) for name, _, _ in rows)
    values = min(max(len(value) for _, value, _ in rows), WIDEST_VALUE)
    return "\n".join(f"{name:{names}}  {value:{values}}  {origin}" for name, value, origin in rows)


def flatten(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every leaf; a list of plain values is one leaf, as is an empty mapping."""
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from flatten(value[key], f"{where}.{key}" if where else key)
    elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        for index, entry in enumerate(value):
            yield from flatten(entry, f"{where}[{index}]")
    else:
        yield where, value


def find_origin(name: str, tree: Tree) -> str:
    """`file.yaml:12`, `command line`, `TPR_DATA` or `default`."""
    bare = name.removesuffix(".name")
    if name in tree.origins:
        return tree.origins[name]
    if bare.endswith("]") and bare != name and bare in tree.origins:
        return tree.origins[bare]
    return "TPR_DATA" if name == "data.root" and os.environ.get("TPR_DATA") else "default"
