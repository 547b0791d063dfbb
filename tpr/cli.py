"""The `tpr` command: a table of sub-commands, one small file each in `tpr/commands`.

A command's file is imported when it is chosen: training needs a second of libraries that others do not.
"""

import argparse
import gc
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from tpr import __version__, processes
from tpr.errors import ConfigError, TrainingError, UserError
from tpr.home import give_libraries_a_home
from tpr.report.console import configure_logging

COMMANDS = {
    "train": "train, evaluate and keep the best",
    "evaluate": "one checkpoint on all named datasets",
    "report": "one table over runs, two compared, one looked at",
    "draw": "draw the embedded datasets in their published layouts",
    "data": "check datasets, pack them",
    "caption": "let a model write captions",
    "style": "teach annotators' styles to a captioning model",
    "convert": "an official checkpoint as one of ours",
    "show": "print each option of a config with its origin",
    "options": "list every option with its sentence",
}
"""What `tpr --help` says of each command, in the words of its own file."""

TOGETHER = {"train", "evaluate", "style"}
"""Commands that several processes run as one, so that one speaks for all; others speak wherever they run."""

EXAMPLES = """examples:
  tpr train configs/drawn/pretrain.yaml
  tpr evaluate runs/drawn-pretrain/best.pt
  tpr COMMAND --help"""


class Parser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would print its usage: every mistake of a user is one line."""

    def error(self, message: str) -> NoReturn:
        """Where, what, and what to do; of a misspelt name, what was meant."""
        refused = re.fullmatch(r"(.*invalid choice: '(.*)') \(choose from (.*)\)", message)
        if refused is not None:
            from tpr.config.messages import guess

            said, word, known = refused.groups()
            message = said + (guess(word, re.findall(r"[\w.-]+", known)) or f" (choose from {known})")
        raise ConfigError(f"{message}; `{self.prog} --help` shows what is expected")


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for a command line; of the command that it names all options, of the others the name."""
    parser = Parser(
        prog="tpr",
        description="Text-based person retrieval: train, evaluate, look.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tpr {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = find_command(arguments)
    for command, summary in COMMANDS.items():
        if command == chosen:
            import_command(command).add_parser(subparsers)
        else:
            subparsers.add_parser(command, help=summary)
    return parser


def import_command(name: str) -> ModuleType:
    """A command's file, without garbage collection: looking through all that libraries make takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(f"tpr.commands.{name}")
    finally:
        if was_enabled:
            gc.enable()


def find_command(arguments: Sequence[str]) -> str | None:
    """The first word that is no option."""
    return next((word for word in arguments if not word.startswith("-")), None)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The words of a command line; raises ConfigError in one line.

    argparse fills a list of words only up to the first option and gives back those behind it, as in
    `tpr train --finetune CHECKPOINT optim.lr=1e-4`; they are appended here.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser(arguments)
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
    """Run one command; a user's mistake is one line on stderr and exit code 2, Ctrl-C one line and 130."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = find_command(arguments)
    is_alone = command in COMMANDS and command not in TOGETHER
    configure_logging(main=is_alone or processes.is_speaker())
    try:
        return run(arguments)
    except UserError as error:
        if is_alone or processes.claim_last_word() or processes.outlives_the_speaker():
            sys.stderr.write(f"tpr: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left to do takes no time
        if is_alone or processes.claim_last_word():
            sys.stderr.write(processes.INTERRUPTED)
        return processes.INTERRUPTED_CODE
    except BrokenPipeError:
        # The reader of our output (head, less) has left; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def run(arguments: Sequence[str]) -> int:
    """The chosen command's exit code; raises UserError also where a loader worker was lost."""
    give_libraries_a_home()
    namespace = parse(arguments)
    processes.raise_on_interrupt()
    try:
        return int(namespace.run(namespace))
    except RuntimeError as error:
        lost = processes.explain_lost_worker(error)
        if lost is None:
            raise
        raise TrainingError(lost) from error
