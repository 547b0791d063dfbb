"""Words of a command line by the types and ranges that options of a config have; commands with their help."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpr.config.scalars import convert_scalar
from tpr.errors import ConfigError, explain_disk


def typed(hint: Any) -> Callable[[str], Any]:
    """`type=` of an argparse argument: `typed(Path)` replaces `~`, `typed(Count)` keeps its range."""

    def convert(word: str) -> Any:
        try:
            return convert_scalar(word, hint)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def type_word(word: str, hint: Any) -> Any:
    """One word as its type. Raises ConfigError."""
    try:
        return convert_scalar(word, hint)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def find_target(namespace: argparse.Namespace) -> Path | None:
    """The folder that a command writes into: OUT, else a new plan's, else the first of its plans."""
    plans: list[Path] = getattr(namespace, "plans", [])
    target: Path | None = getattr(namespace, "out", None) or getattr(namespace, "folder", None)
    return target or next(iter(plans), None)


def add_command(
    commands: Any,
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int] | None = None,
    **more: Any,
) -> argparse.ArgumentParser:
    """A command, carried out by `run`; more: arguments of argparse, such as description and epilog."""
    page: dict[str, Any] = {"description": f"{summary[0].upper()}{summary[1:]}.", **more}
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **page
    )
    parser.set_defaults(run=run)
    return parser


def add_late_command(
    commands: Any, name: str, module: str, summary: str, **more: Any
) -> argparse.ArgumentParser:
    """A command carried out by `run_NAME` of a file in this folder, which is imported when it is chosen."""

    def run(namespace: argparse.Namespace) -> int:
        carry_out = getattr(importlib.import_module(f"tpr.commands.{module}"), f"run_{name}")
        try:
            return int(carry_out(namespace))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise explain_disk(error, find_target(namespace)) from error

    return add_command(commands, name, summary, run, **more)


def add_words(parser: argparse.ArgumentParser, name: str, summary: str) -> None:
    """An option that takes settings."""
    parser.add_argument(name, nargs="+", default=[], metavar="key=value", help=summary)


def add_root(parser: argparse.ArgumentParser) -> None:
    """The option that names the folder of the datasets."""
    parser.add_argument("--root", type=typed(Path), help="data root; default: TPR_DATA, else data")
