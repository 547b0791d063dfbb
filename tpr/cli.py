"""The `tpr` command: a table of sub-commands, one small file each in `tpr/commands`."""

import argparse
import os
import sys
from collections.abc import Sequence

from tpr import __version__, distributed
from tpr.commands import convert, data, draw, evaluate, options, show, train
from tpr.errors import UserError
from tpr.report.console import configure_logging

COMMANDS = (train, evaluate, draw, data, convert, show, options)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; abbreviations of options are refused."""
    parser = argparse.ArgumentParser(
        prog="tpr", description="Text-based person retrieval: train, evaluate, look.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"tpr {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2."""
    namespace = build_parser().parse_args(arguments)
    configure_logging(main=distributed.is_speaker())
    try:
        return int(namespace.run(namespace))
    except UserError as error:
        if distributed.is_speaker():
            sys.stderr.write(f"tpr: {' '.join(str(error).split())}\n")
        return 2
    except BrokenPipeError:
        # The reader of our output (head, less) has left; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
