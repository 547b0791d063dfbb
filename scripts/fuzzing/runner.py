"""Command line of the fuzzing: children that try, a parent that survives them, and one table."""

import argparse
import importlib
import logging
import multiprocessing
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from prettytable import PrettyTable

from fuzzing.verdict import Attempt, Kind, Verdict, judge

KINDS = {
    "images": "images.Images",
    "annotations": "sets.Annotations",
    "configurations": "configs.Configurations",
    "overrides": "configs.Overrides",
    "checkpoints": "checkpoints.Checkpoints",
    "shards": "sets.Shards",
    "caches": "sets.Caches",
    "resume": "resume.Resume",
}
"""Name of a kind -> its class; imported late, each needs other libraries."""
SECONDS_TO_START = 600.0
SECONDS_TO_END = 10.0
SHOWN = 5
"""Failures of a kind that are printed; the others are counted."""


def load_kind(name: str) -> type[Kind]:
    """The class of one kind."""
    module, _, title = KINDS[name].partition(".")
    kind: type[Kind] = getattr(importlib.import_module(f"fuzzing.{module}"), title)
    return kind


def work(name: str, seed: int, numbers: range, folder: Path, sender: Connection) -> None:
    """A child: attempts in turn, each reported before the next begins; SIGTERM ends it in good order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    kind = load_kind(name)(folder)
    sender.send(kind.longest_attempt)
    for number in numbers:
        sender.send(judge(kind, name, seed, number))


def try_kind(name: str, seed: int, numbers: range, seconds: float) -> list[Attempt]:
    """Attempts for so long; a child that dies or hangs is a failure, and another one goes on behind it."""
    attempts: list[Attempt] = []
    while len(attempts) < len(numbers) and (not attempts or seconds > 0):
        with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
            more, spent = _try_in_child(name, seed, numbers[len(attempts) :], Path(folder), seconds)
        attempts += more
        seconds -= spent
    return attempts


def _try_in_child(
    name: str, seed: int, numbers: range, folder: Path, seconds: float
) -> tuple[list[Attempt], float]:
    """Attempts of one child, and the seconds that they took; its start does not count."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=work, args=(name, seed, numbers, folder, sender))
    child.start()
    sender.close()
    attempts: list[Attempt] = []
    started = time.monotonic()
    try:
        if not receiver.poll(SECONDS_TO_START):
            raise RuntimeError(f"{name}: the originals were not made within {SECONDS_TO_START:.0f} s")
        patience = receiver.recv()
        started = time.monotonic()
        while len(attempts) < len(numbers) and (not attempts or time.monotonic() < started + seconds):
            if not receiver.poll(patience):
                attempts.append(Attempt(numbers[len(attempts)], Verdict.HANG, f"more than {patience:.0f} s"))
                break
            attempts.append(receiver.recv())
    except EOFError:
        child.join()
        if not child.exitcode or child.exitcode > 0:
            raise RuntimeError(f"{name}: the child ended with exit code {child.exitcode}") from None
        attempts.append(Attempt(numbers[len(attempts)], Verdict.CRASH, f"signal {-child.exitcode}"))
    finally:
        _end(child)
    return attempts, time.monotonic() - started


def _end(child: BaseProcess) -> None:
    child.terminate()
    child.join(SECONDS_TO_END)
    if child.is_alive():
        child.kill()
        child.join()


def make_table(found: dict[str, list[Attempt]]) -> PrettyTable:
    """One row per kind: how many attempts had which verdict."""
    table = PrettyTable(["kind", "attempts", *(verdict.value for verdict in Verdict)])
    table.align = "r"
    table.align["kind"] = "l"
    for name, attempts in found.items():
        counts = Counter(attempt.verdict for attempt in attempts)
        table.add_row([name, f"{len(attempts):,}", *(f"{counts[verdict]:,}" for verdict in Verdict)])
    return table


def say_failures(name: str, seed: int, attempts: Sequence[Attempt]) -> int:
    """Print the first failures with the words that repeat them; returns how many there are."""
    failures = [attempt for attempt in attempts if attempt.verdict.is_failure]
    for attempt in failures[:SHOWN]:
        print(f"{name}: {attempt.verdict.value}; again: fuzz.py {name} --seed {seed} --only {attempt.number}")
        print(attempt.detail, flush=True)
    return len(failures)


def main(arguments: Sequence[str]) -> int:
    """Tries the named kinds; 1 if an attempt failed, else 0."""
    parser = argparse.ArgumentParser(prog="fuzz.py", description="Random damage to whatever is read.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--attempts", type=int, default=10**9, help="of each kind at most; default: no limit")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this attempt alone, to repeat a failure")
    options = parser.parse_args(arguments)
    for name in options.kinds:
        if name not in KINDS:
            parser.error(f"{name} is not known; known: {', '.join(KINDS)}")
    numbers = range(options.attempts) if options.only is None else range(options.only, options.only + 1)
    found: dict[str, list[Attempt]] = {}
    failed = 0
    for name in options.kinds or KINDS:
        found[name] = try_kind(name, options.seed, numbers, options.seconds)
        failed += say_failures(name, options.seed, found[name])
    sys.stdout.write(f"{make_table(found)}\n")
    return int(failed > 0)
