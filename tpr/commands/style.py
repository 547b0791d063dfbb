"""`tpr style`: styles of human annotators, from their captions to a model that writes in them."""

from pathlib import Path
from typing import Any

from tpr.captioning.engines import ENGINES
from tpr.captioning.styles.options import ClusterOptions, EncoderOptions, TrainOptions
from tpr.commands.arguments import add_command, add_late_command, add_root, add_words, typed
from tpr.config.options import describe_options
from tpr.data.adapters import ADAPTERS

EXAMPLES = """examples:
  tpr style features styles/features --sets cuhk_pedes --root /data
  tpr style cluster styles/features styles/bank
  tpr style train styles/bank styles/run model=llava-1.5-7b-hf root=/data
  tpr style export styles/run/last.pt styles/model"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr style` and its commands."""
    parser = add_command(
        subparsers,
        "style",
        "teach annotators' styles to a captioning model",
        description="Find the styles of human annotators in their captions and teach them to a model.",
        epilog=EXAMPLES,
    )
    commands = parser.add_subparsers(dest="style_command", required=True, metavar="COMMAND")
    features = add_late_command(
        commands, "features", "style_run", "captions without the person, as CLIP sees them"
    )
    features.epilog = list_options("options of --encoder", EncoderOptions)
    features.add_argument("out", metavar="OUT", type=typed(Path), help="folder to write into")
    features.add_argument("--sets", nargs="+", required=True, metavar="SET", help=f"of {', '.join(ADAPTERS)}")
    add_root(features)
    add_words(features, "--options", "options of the dataset, if there is only one")
    features.add_argument(
        "--engine",
        metavar="NAME",
        help=f"let a language model rewrite, of {', '.join(ENGINES)}; default: word lists",
    )
    add_words(features, "--engine-options", "options of the engine")
    add_words(features, "--encoder", "options of CLIP's text tower")
    features.add_argument(
        "--texts", type=typed(Path), metavar="FOLDER", help="styles/words.yaml and styles/rewrite.txt"
    )
    cluster = add_late_command(
        commands, "cluster", "style_run", "captions with a similar wording are a style"
    )
    cluster.epilog = list_options("options", ClusterOptions)
    cluster.add_argument(
        "features", metavar="FEATURES", type=typed(Path), help="folder of `tpr style features`"
    )
    cluster.add_argument("out", metavar="OUT", type=typed(Path), help="folder to write into")
    cluster.add_argument("arguments", nargs="*", metavar="key=value")
    cluster.add_argument("--texts", type=typed(Path), metavar="FOLDER", help="instructions.yaml")
    train = add_late_command(
        commands, "train", "style_run", "learn a few vectors per style, and the projector"
    )
    train.epilog = list_options("options", TrainOptions)
    train.add_argument(
        "data", metavar="DATA", type=typed(Path), help="folder of `tpr style cluster`, or HAM's JSON"
    )
    train.add_argument(
        "out", metavar="OUT", type=typed(Path), help="folder of the run; an existing run is resumed"
    )
    train.add_argument("arguments", nargs="*", metavar="key=value")
    export = add_late_command(commands, "export", "style_run", "a model folder with the styles inside")
    export.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=typed(Path), help="last.pt of `tpr style train`"
    )
    export.add_argument("out", metavar="OUT", type=typed(Path), help="folder to write into")
    export.add_argument(
        "arguments", nargs="*", metavar="key=value", help="such as model=FOLDER, if it has moved"
    )


def list_options(title: str, options: type[Any]) -> str:
    """Options of a dataclass with default and sentence, for the end of a help page."""
    rows = describe_options(options, {})
    return "\n".join([f"{title}:", *(f"  {row.name}={row.default}\n      {row.sentence}" for row in rows)])
