"""`tpr data`: is my data as published, and one packed file per corpus."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prettytable import PrettyTable

from tpr.commands.arguments import add_command, add_root, add_words, typed
from tpr.commands.datasets import choose_dataset, read_root
from tpr.commands.resolve import resolve_experiment, split_arguments
from tpr.config.messages import show_name
from tpr.config.ranges import Range
from tpr.config.reader import read_overrides
from tpr.config.schema import DataOptions
from tpr.config.typed import build_options
from tpr.config.yaml_entries import parse_values
from tpr.data.adapters import ADAPTERS, Counts
from tpr.data.tables.check import CheckReport, SplitReport, check_sets, choose_sets
from tpr.data.tables.pack import SHARD_BYTES, pack_set
from tpr.errors import ConfigError
from tpr.report.console import say
from tpr.systems import TABLES

CHECK_EXAMPLES = """examples:
  tpr data check data.root=/data
  tpr data check configs/irra/cuhk_pedes.yaml data.root=/data"""
PACK_EXAMPLES = """examples:
  tpr data pack cuhk_pedes --root /data
  tpr data pack synth_pedes --root /data --out /fast --options captions=published images=1000000"""
SHOWN = 3
"""Findings of each kind that are named; the others are counted."""
GIGABYTE = 2**30


def add_parser(subparsers: Any) -> None:
    """Register `tpr data check` and `tpr data pack`."""
    parser = add_command(subparsers, "data", "check datasets, pack them")
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    check = add_command(
        commands,
        "check",
        "compare datasets with what was published",
        run_check,
        description="Counts, missing and unreadable images, overlap of training and test. Without CONFIG: "
        "every dataset whose folder exists. Exit code 2 if something must be mended.",
        epilog=CHECK_EXAMPLES,
    )
    check.add_argument("arguments", nargs="*", metavar="[CONFIG] [key=value ...]")
    check.add_argument("--sets", nargs="+", default=[], metavar="SET", help=f"of {', '.join(ADAPTERS)}")
    check.add_argument("--no-decode", action="store_true", help="look for images without decoding them")
    pack = add_command(
        commands,
        "pack",
        "write a dataset with its images into a few Arrow files",
        run_pack,
        description="Write OUT/<dataset folder>/packed/, which data.root=OUT reads in place of loose files.",
        epilog=PACK_EXAMPLES,
    )
    pack.add_argument("set", metavar="SET", help=f"one of {', '.join(ADAPTERS)}")
    add_words(pack, "--options", "options of the dataset")
    add_root(pack)
    pack.add_argument("--out", type=typed(Path), help="data root to write below; default: the same")
    pack.add_argument(
        "--shard-gigabytes",
        type=typed(Annotated[float, Range(0.001, 1000)]),
        default=SHARD_BYTES / GIGABYTE,
        help="default: %(default)s",
    )


def run_check(namespace: argparse.Namespace) -> int:
    """Check datasets, print findings and the closing table; 2 if something is broken."""
    # Words after --sets are taken for names by the parser, settings such as data.root=/data as well.
    names = [word for word in namespace.sets if "=" not in word]
    data = read_data_options([*namespace.arguments, *(word for word in namespace.sets if "=" in word)])
    named = list({repr(choice): choice for choice in (*data.train, *data.test)}.values())
    choices = choose_sets(data.root, names) if names or not named else named
    report = check_sets(choices, data, decodes=not namespace.no_decode)
    for line in [*report.notes, *list_findings(report)]:
        say(line)
    say(str(make_table(report)))
    return 2 if report.is_broken else 0


def run_pack(namespace: argparse.Namespace) -> int:
    """Pack one dataset."""
    choice, data = choose_dataset(namespace.set, parse_values(namespace.options)), read_root(namespace.root)
    shard_bytes = int(namespace.shard_gigabytes * GIGABYTE)
    packed = pack_set(choice, data, namespace.out or data.root, shard_bytes)
    say(
        f"{packed.folder}: {packed.images:,} images in {packed.files} Arrow files, "
        f"{packed.size / GIGABYTE:.2f} GiB; `data.root={namespace.out or data.root}` reads them"
    )
    return 0


def read_data_options(arguments: Sequence[str]) -> DataOptions:
    """The group `data` of a config with overrides, or of overrides alone."""
    config, overrides = split_arguments(arguments)
    if config is not None:
        return resolve_experiment(arguments).data
    strange = [word for word in overrides if not word.startswith("data.")]
    if strange:
        raise ConfigError(
            f"{show_name(strange[0].partition('=')[0])}: without a CONFIG only data.* can be given, such as "
            "data.root=/data"
        )
    return build_options(DataOptions, read_overrides(overrides).values.get("data", {}), TABLES, "data")


def list_findings(report: CheckReport) -> list[str]:
    """Lines that name the first findings of each kind and count the others."""
    lines = [f"{name}: {problem}" for name, problem in report.failures.items()]
    for split in report.splits:
        where = f"{split.name} {split.split}"
        lines += _list_some(f"{where}: missing", split.missing)
        lines += _list_some(
            f"{where}: unreadable", [f"{image} {reason}" for image, reason in split.unreadable]
        )
        lines += _list_some(f"{where}: identity also in train", list(map(str, split.shared_identities)))
        for training, pairs in split.shared_images.items():
            twins = [f"{image} equals {other}" for other, image in pairs]
            lines += _list_some(f"{where}: image also in {training} train", twins)
    return lines


def _list_some(what: str, findings: Sequence[str]) -> list[str]:
    lines = [f"{what}: {finding}" for finding in findings[:SHOWN]]
    if len(findings) > SHOWN:
        lines.append(f"{what}: and {len(findings) - SHOWN:,} more")
    return lines


def make_table(report: CheckReport) -> PrettyTable:
    """The closing table: found and published sizes side by side."""
    sizes = ["identities", "images", "captions", "missing", "unreadable", "shared ids / images"]
    table = PrettyTable(["dataset", "split", *sizes, "verdict"], align="l")
    for column in sizes:
        table.align[column] = "r"
    for name in report.failures:
        table.add_row([name, "", "", "", "", "", "", "", "broken"])
    for split in report.splits:
        table.add_row(_make_row(split))
    return table


def _make_row(split: SplitReport) -> list[str]:
    published = split.published or Counts(None, None, None)
    sizes = [
        _show_size(split.found.identities, published.identities),
        _show_size(split.found.images, published.images),
        _show_size(split.found.captions, published.captions),
    ]
    images = sum(len(pairs) for pairs in split.shared_images.values())
    shared = f"{len(split.shared_identities)} / {images}" if split.split != "train" else ""
    broken = [f"{len(split.missing):,}", f"{len(split.unreadable):,}"]
    return [split.name, split.split, *sizes, *broken, shared, split.verdict]


def _show_size(found: int | None, published: int | None) -> str:
    """`found of published`, or what there is of the two."""
    shown = "-" if found is None else f"{found:,}"
    return shown if published is None else f"{shown} of {published:,}"
