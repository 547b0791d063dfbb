"""`tpr options`: every option with what it accepts, its default and its sentence."""

import argparse
import shutil
from collections.abc import Sequence
from typing import Any

from prettytable import PrettyTable

from tpr.commands.arguments import add_command
from tpr.config.messages import guess
from tpr.config.options import OptionRow, describe_options
from tpr.config.schema import Experiment
from tpr.config.typed import Tables
from tpr.errors import ConfigError
from tpr.report.console import say
from tpr.systems import TABLES

EXAMPLES = """examples:
  tpr options
  tpr options system=irra"""
NARROWEST_SENTENCE = 38
WIDEST_TYPE = 36
WIDEST_DEFAULT = 24
WIDTH_OF_A_PIPE = 160


def add_parser(subparsers: Any) -> None:
    """Register `tpr options`."""
    parser = add_command(
        subparsers,
        "options",
        "list every option with its sentence",
        run,
        description="List every option; system=NAME, model=NAME or adapter=NAME lists those of one name.",
        epilog=EXAMPLES,
    )
    parser.add_argument("chosen", nargs="*", metavar="KIND=NAME")


def run(namespace: argparse.Namespace) -> int:
    """Print the tables."""
    width = shutil.get_terminal_size((WIDTH_OF_A_PIPE, 24)).columns
    say(show_options(TABLES, namespace.chosen, width))
    return 0


def show_options(tables: Tables, chosen: Sequence[str], width: int) -> str:
    """One table for what every run has and one per table entry, or only those of the chosen entries."""
    sections: dict[str, list[OptionRow]] = {}
    for row in describe_options(Experiment, tables):
        sections.setdefault(row.choice, []).append(row)
    for text in chosen:
        check_choice(text, tables)
    parts = []
    every = [f"{kind}={name}" for kind in tables for name in sorted(tables[kind])]
    for choice in chosen or ["", *every]:
        title = choice or "every run"
        rows = sections.get(choice, [])
        parts.append(f"{title}:\n{draw_table(rows, width)}" if rows else f"{title}: no options of its own")
    return "\n\n".join(parts)


def check_choice(text: str, tables: Tables) -> None:
    """Raises ConfigError unless the text is `kind=name` of a table entry."""
    kind, _, name = text.partition("=")
    if kind not in tables or not name:
        kinds = ", ".join(f"{known}=NAME" for known in tables)
        raise ConfigError(f"tpr options: expected one of {kinds}, got {text!r}")
    if name not in tables[kind]:
        known = ", ".join(sorted(tables[kind]))
        raise ConfigError(f"{kind}.name: {name!r} is not known{guess(name, tables[kind])}; known: {known}")


def draw_table(rows: Sequence[OptionRow], width: int) -> str:
    """Options as a table that fits the width."""
    table = PrettyTable(["option", "type", "default", "what it does"], border=False)
    table.align = "l"
    table.left_padding_width, table.right_padding_width = 0, 2
    table.add_rows([row[:4] for row in rows])
    taken = max(len(row.name) for row in rows) + min(WIDEST_TYPE, max(len(row.type) for row in rows))
    table.max_width["type"] = WIDEST_TYPE
    table.max_width["default"] = WIDEST_DEFAULT
    table.max_width["what it does"] = max(width - taken - WIDEST_DEFAULT, NARROWEST_SENTENCE)
    return "\n".join(line.rstrip() for line in table.get_string().splitlines())
