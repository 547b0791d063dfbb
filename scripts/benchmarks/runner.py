"""Command line of the benchmarks: which to run, how large, and in which form to print."""

import argparse
import importlib
import json
import logging
from collections.abc import Callable, Sequence

from benchmarks.machine import describe_machine
from benchmarks.report import Report

NAMES = (
    "metrics",
    "loader",
    "decode",
    "text",
    "step",
    "optim",
    "sampler",
    "memory",
    "loss",
    "cost",
    "nam",
    "rde",
    "visible_infrared",
    "caption",
)


def load_benchmark(name: str) -> Callable[[bool], Report]:
    """The function `run(quick)` of one sub-command; imported late, each needs other libraries."""
    run: Callable[[bool], Report] = importlib.import_module(f"benchmarks.{name}").run
    return run


def main(arguments: Sequence[str]) -> int:
    """Runs the named benchmarks; 1 when `--check` finds a difference, else 0. `gpu` reads its own words."""
    if arguments[:1] == ["gpu"]:
        return int(importlib.import_module("benchmarks.gpu.command").main(arguments[1:]))
    parser = argparse.ArgumentParser(
        prog="benchmark.py",
        description="Paired benchmarks against the published recipe.",
        epilog="examples: benchmark.py all --quick; benchmark.py step --json; benchmark.py gpu --help",
        allow_abbrev=False,
    )
    parser.add_argument(
        "names", nargs="+", choices=(*NAMES, "all"), metavar="NAME", help=", ".join((*NAMES, "all"))
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds")
    parser.add_argument(
        "--check", action="store_true", help="exit code 1 when results or memory are not as promised"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args(arguments)
    names = NAMES if "all" in options.names else tuple(dict.fromkeys(options.names))
    logging.disable(logging.INFO)
    try:
        reports = run_all(names, quick=options.quick, speak=not options.json)
    finally:
        logging.disable(logging.NOTSET)
    if options.json:
        found = [report.as_dict() for report in reports]
        print(json.dumps({"machine": describe_machine(), "reports": found}, indent=1))
    return int(options.check and not all(report.passed for report in reports))


def run_all(names: Sequence[str], *, quick: bool, speak: bool) -> list[Report]:
    """The reports of these benchmarks; each is printed as soon as it is there."""
    if speak:
        print(describe_machine(), flush=True)
    reports = []
    for name in names:
        reports.append(load_benchmark(name)(quick))
        if speak:
            print(reports[-1].as_text(), flush=True)
    return reports
