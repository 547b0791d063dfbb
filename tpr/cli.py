"""The `tpr` command: a table of sub-commands, one small file each in `tpr/commands`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tpr import __version__, distributed
from tpr.commands import caption, convert, data, draw, evaluate, options, report, show, style, train
from tpr.errors import ConfigError, UserError
from tpr.report.console import configure_logging

COMMANDS = (train, evaluate, report, draw, data, caption, style, convert, show, options)


EXAMPLES = """examples:
  tpr train configs/drawn/pretrain.yaml
  tpr evaluate runs/drawn-pretrain/best.pt
  tpr COMMAND --help"""


class Parser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would print its usage: every mistake of a user is one line."""

    def error(self, message: str) -> NoReturn:
        """Where, what, and what to do."""
        raise ConfigError(f"{message}; `{self.prog} --help` shows what is expected")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; abbreviations of options are refused."""
    parser = Parser(
        prog="tpr",
        description="Text-based person retrieval: train, evaluate, look.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tpr {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The words of a command line; raises ConfigError in one line.

    argparse fills a list of words only up to the first option and gives back those behind it, as in
    `tpr train --finetune CHECKPOINT optim.lr=1e-4`; they are appended here.
    """
    parser = build_parser()
    namespace, words = parser.parse_known_args(arguments)
    strange = next((word for word in words if word.startswith("-") or "arguments" not in namespace), None)
    if strange is not None:
        raise ConfigError(
            f"{namespace.command}: {strange!r} is not known; `tpr {namespace.command} --help` shows what is"
        )
    if words:
        namespace.arguments = [*namespace.arguments, *words]
    return namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2."""
    configure_logging(main=distributed.is_speaker())
    try:
        namespace = parse(arguments)
        return int(namespace.run(namespace))
    except UserError as error:
        if distributed.claim_last_word():
            sys.stderr.write(f"tpr: {' '.join(str(error).split())}\n")
        return 2
    except BrokenPipeError:
        # The reader of our output (head, less) has left; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
