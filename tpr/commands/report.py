"""`tpr report`: one table over several runs, and their learning curves as one image."""

import argparse
from pathlib import Path

from tpr.commands.arguments import type_word, typed
from tpr.report.console import say
from tpr.report.runs import group_seeds, read_runs, tabulate_runs

EXAMPLES = """examples:
  tpr report runs/drawn-pretrain runs/drawn-finetune
  tpr report runs/irra-cuhk_pedes-seed1 runs/irra-cuhk_pedes-seed2 --each --curves curves.png"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `tpr report`."""
    parser = subparsers.add_parser(
        "report",
        help="one table, and curves, over several runs",
        description="Runs side by side on all their test datasets; runs that differ in their seed alone "
        "are one row, mean ± standard deviation.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("arguments", nargs="+", metavar="RUN", help="a run folder, or a file in one")
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead of a text table")
    parser.add_argument(
        "--each", action="store_true", help="show every seed's run below the row of their mean"
    )
    parser.add_argument(
        "--curves", type=typed(Path), metavar="FILE.png", help="draw loss and R@1 in the course of the runs"
    )
    parser.set_defaults(run=run)


def run(namespace: argparse.Namespace) -> int:
    """Read the runs, draw their curves where asked, print their table."""
    groups = group_seeds(read_runs([type_word(word, Path) for word in namespace.arguments]))
    image: Path | None = namespace.curves
    if image is not None:
        # Imported here: matplotlib takes half a second, and all other commands need not wait for it.
        from tpr.report.curves import draw_curves

        draw_curves(image, groups)
    say(tabulate_runs(groups, each=namespace.each, markdown=namespace.markdown))
    if image is not None:
        say(f"\n![learning curves]({image})" if namespace.markdown else f"curves:      {image}")
    return 0
