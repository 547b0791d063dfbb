"""`tpr style`: styles of human annotators, from their captions to a model that writes in them."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from tpr.captioning.engines import ENGINES
from tpr.captioning.styles.options import ClusterOptions, EncoderOptions, TrainOptions
from tpr.commands.arguments import find_target, typed
from tpr.config.options import describe_options
from tpr.data.adapters import ADAPTERS
from tpr.errors import explain_disk

EXAMPLES = """examples:
  tpr style features styles/features --sets cuhk_pedes --root /data
  tpr style cluster styles/features styles/bank
  tpr style train styles/bank styles/run model=llava-1.5-7b-hf root=/data
  tpr style export styles/run/last.pt styles/model"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr style` and its commands."""
    parser = subparsers.add_parser(
        "style",
        help="teach annotators' styles to a captioning model",
        description="Find the styles of human annotators in their captions and teach them to a model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="style_command", required=True, metavar="COMMAND")
    features = _add_command(commands, "features", "captions without the person, as CLIP sees them")
    features.epilog = list_options("options of --encoder", EncoderOptions)
    features.add_argument("out", metavar="OUT", type=typed(Path), help="folder to write into")
    features.add_argument("--sets", nargs="+", required=True, metavar="SET", help=f"of {', '.join(ADAPTERS)}")
    features.add_argument("--root", type=typed(Path), help="data root; default: TPR_DATA, else data")
    _add_words(features, "--options", "options of the dataset, if there is only one")
    features.add_argument(
        "--engine",
        metavar="NAME",
        help=f"let a language model rewrite, of {', '.join(ENGINES)}; default: word lists",
    )
    _add_words(features, "--engine-options", "options of the engine")
    _add_words(features, "--encoder", "options of CLIP's text tower")
    features.add_argument(
        "--texts", type=typed(Path), metavar="FOLDER", help="styles/words.yaml and styles/rewrite.txt"
    )
    cluster = _add_command(commands, "cluster", "captions with a similar wording are a style")
    cluster.epilog = list_options("options", ClusterOptions)
    cluster.add_argument(
        "features", metavar="FEATURES", type=typed(Path), help="folder of `tpr style features`"
    )
    cluster.add_argument("out", metavar="OUT", type=typed(Path), help="folder to write into")
    cluster.add_argument("arguments", nargs="*", metavar="key=value")
    cluster.add_argument("--texts", type=typed(Path), metavar="FOLDER", help="instructions.yaml")
    train = _add_command(commands, "train", "learn a few vectors per style, and the projector")
    train.epilog = list_options("options", TrainOptions)
    train.add_argument(
        "data", metavar="DATA", type=typed(Path), help="folder of `tpr style cluster`, or HAM's JSON"
    )
    train.add_argument(
        "out", metavar="OUT", type=typed(Path), help="folder of the run; an existing run is resumed"
    )
    train.add_argument("arguments", nargs="*", metavar="key=value")
    export = _add_command(commands, "export", "a model folder with the styles inside")
    export.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=typed(Path), help="last.pt of `tpr style train`"
    )
    export.add_argument("out", metavar="OUT", type=typed(Path), help="folder to write into")
    export.add_argument(
        "arguments", nargs="*", metavar="key=value", help="such as model=FOLDER, if it has moved"
    )


def _add_command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=lambda namespace: _run(name, namespace))
    return parser


def _run(name: str, namespace: argparse.Namespace) -> int:
    """Carry out `run_NAME` of style_run.py; a full disk or a locked folder is one line."""
    run = getattr(importlib.import_module("tpr.commands.style_run"), f"run_{name}")
    try:
        return int(run(namespace))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise explain_disk(error, find_target(namespace)) from error


def _add_words(parser: argparse.ArgumentParser, name: str, summary: str) -> None:
    parser.add_argument(name, nargs="+", default=[], metavar="key=value", help=summary)


def list_options(title: str, options: type[Any]) -> str:
    """Options of a dataclass with default and sentence, for the end of a help page."""
    rows = describe_options(options, {})
    return "\n".join([f"{title}:", *(f"  {row.name}={row.default}\n      {row.sentence}" for row in rows)])
