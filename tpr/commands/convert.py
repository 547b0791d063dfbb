"""`tpr convert`: an official checkpoint as one of ours, with a report of what was read."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tpr.commands.arguments import add_command, typed
from tpr.commands.resolve import resolve_checkpoint
from tpr.config.resolved import to_tree
from tpr.engine.checkpoint import write_checkpoint, write_safetensors
from tpr.errors import CheckpointError
from tpr.report.console import configure_logging, say
from tpr.systems import load_system

EXAMPLES = """examples:
  tpr convert irra_cuhk.pth
  tpr convert ViT-B-16.pt --out clip.pt data.image_size=[384,128]
  tpr convert best.pt --out best.safetensors"""


def add_parser(subparsers: Any) -> None:
    """Register `tpr convert`."""
    parser = add_command(
        subparsers,
        "convert",
        "an official checkpoint as one of ours",
        run,
        description="Write a checkpoint of IRRA's layout, OpenAI or open_clip in this framework's format.",
        epilog=EXAMPLES,
    )
    parser.add_argument("checkpoint", type=typed(Path))
    parser.add_argument("arguments", nargs="*", default=[], metavar="key=value")
    parser.add_argument(
        "--out",
        type=typed(Path),
        help="file to write, .safetensors or any other; default: in the same folder, ending in .tpr.pt",
    )


def run(namespace: argparse.Namespace) -> int:
    """Convert one file; never overwrites another."""
    configure_logging(None, main=True)
    source: Path = namespace.checkpoint
    target: Path = namespace.out or source.with_name(f"{source.stem}.tpr.pt")
    if target.exists():
        raise CheckpointError(f"{target}: is there already; remove it or choose another with --out")
    experiment = resolve_checkpoint(source, namespace.arguments)
    system = load_system(source, experiment=experiment)
    about: dict[str, Any] = {"config": to_tree(experiment), "setting": asdict(system.setting)}
    if target.suffix == ".safetensors":
        write_safetensors(target, system.state_dict(), about)
    else:
        write_checkpoint(target, {"model": system.state_dict(), **about})
    say(
        f"written to {target}; evaluate it with: tpr evaluate {target} data.root=/data data.test=[cuhk_pedes]"
    )
    return 0
