"""`tpr draw OUT`: draw the world, and if asked a sheet to look at it."""

import argparse
import logging
from pathlib import Path
from typing import Annotated, Any

from tpr.commands.arguments import add_command, typed
from tpr.config.ranges import Range
from tpr.drawn import draw_world
from tpr.drawn.layouts import DEFAULT_IDENTITIES, DEFAULT_SETS, PLANNERS
from tpr.drawn.sheet import write_sheet

logger = logging.getLogger(__name__)

EXAMPLES = """examples:
  tpr draw data/drawn
  tpr draw /tmp/small --identities 20 --seed 3 --sets all --sheet /tmp/small/sheet.png
"""


def add_parser(subparsers: Any) -> None:
    """Register `draw`."""
    parser = add_command(
        subparsers,
        "draw",
        "draw the embedded datasets in their published layouts",
        run,
        description="Draw datasets of people and captions, from a seed, in exactly the published layouts.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "out", metavar="OUT", type=typed(Path), help="folder to draw into; later a run's data.root"
    )
    parser.add_argument(
        "--identities",
        metavar="N",
        type=typed(Annotated[int, Range(2, 1_000_000)]),
        default=None,
        help=f"test identities per benchmark; all sizes keep their proportion to it ({DEFAULT_IDENTITIES})",
    )
    parser.add_argument("--seed", metavar="S", type=typed(int), default=0, help="same seed, same bytes (0)")
    parser.add_argument(
        "--sets",
        metavar="A,B",
        default=",".join(DEFAULT_SETS),
        help=f"datasets to draw, or all ({','.join(DEFAULT_SETS)}; known: {', '.join(PLANNERS)})",
    )
    parser.add_argument(
        "--workers",
        metavar="W",
        type=typed(Annotated[int, Range(1, 1024)]),
        default=2,
        help="processes that draw (2)",
    )
    parser.add_argument(
        "--sheet", metavar="FILE.png", type=typed(Path), default=None, help="also write a contact sheet"
    )


def run(namespace: argparse.Namespace) -> int:
    """Draw what was asked for; returns the exit code."""
    names = [name.strip() for name in namespace.sets.split(",") if name.strip()]
    world = draw_world(
        namespace.out,
        sets=names,
        identities=namespace.identities,
        seed=namespace.seed,
        workers=namespace.workers,
    )
    for entry in world.sets.values():
        people = "no identities" if entry.people is None else f"{entry.people} identities"
        logger.info("%s: %d images, %d captions, %s", entry.folder, entry.images, entry.captions, people)
    if namespace.sheet is not None:
        write_sheet(namespace.sheet, tuple(world.sets), seed=namespace.seed)
        logger.info("sheet written to %s", namespace.sheet)
    return 0
