"""`benchmark.py gpu`: the sections in order, each written as soon as it is there."""

import argparse
import gc
import importlib
import json
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.section import Bench, Section
from tpr.whole_files import open_whole

SECTIONS = (
    "ceiling",
    "equality",
    "steps",
    "others",
    "compiled",
    "feeding",
    "scoring",
    "embedding",
    "drawn",
)
MINUTES = 8.0


def main(arguments: Sequence[str]) -> int:
    """Runs the sections; 0 when nothing broke and every check held, 1 otherwise, 2 without a GPU."""
    options = read_arguments(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.quick:
        print("benchmark.py gpu: torch sees no GPU; --quick tries the same code on a CPU", file=sys.stderr)
        return 2
    deadline = time.perf_counter() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.INFO)
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(device, options.quick, options.full, deadline, Path(folder))
            found = run_sections(bench, options.section or SECTIONS, options.out)
    finally:
        logging.disable(logging.NOTSET)
    return int(not all(section.passed for section in found))


def run_sections(bench: Bench, names: Sequence[str], out: Path) -> list[Section]:
    """These sections as long as there is time; each is printed when it is complete."""
    found: list[Section] = []
    for name in names:
        if not bench.has_time:
            print(f"{name}: left out, the time is over", flush=True)
            continue
        section = Section(name, keep=lambda: write_results(out, found))
        found.append(section)
        run_section(bench, section)
        print(section.as_markdown() + "\n", flush=True)
        section.keep()
    return found


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmark.py gpu", description="What one GPU does with this project.", allow_abbrev=False
    )
    parser.add_argument("--section", action="append", choices=SECTIONS, help="this one alone; repeatable")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no measurement starts later (8)")
    parser.add_argument("--quick", action="store_true", help="small sizes, on a CPU as well")
    parser.add_argument("--full", action="store_true", help="also what is left out for time")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of gpu.json and gpu.md")
    return parser.parse_args(arguments)


def run_section(bench: Bench, section: Section) -> None:
    """One section; an error ends it alone, and is kept with what it had found."""
    start = time.perf_counter()
    # A small run looks for mistakes in this code; compiling takes minutes on a CPU.
    torch.compiler.set_stance("force_eager" if bench.quick else "default")
    try:
        importlib.import_module(f"benchmarks.gpu.{section.name}").run(bench, section)
    except Exception as error:
        section.error = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    section.seconds = time.perf_counter() - start
    torch.compiler.set_stance("default")
    gc.collect()
    bench.forget_memory()


def write_results(folder: Path, found: Sequence[Section]) -> None:
    """All sections so far, for programs and for readers."""
    texts = {
        "gpu.json": json.dumps([section.as_dict() for section in found], indent=1),
        "gpu.md": "\n\n".join(section.as_markdown() for section in found) + "\n",
    }
    for name, text in texts.items():
        with open_whole(folder / name) as file:
            file.write(text.encode())
