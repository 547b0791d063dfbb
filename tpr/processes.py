"""Which process of a run this is, and how its children start and end.

Nothing here imports torch: commands that need no network start in a blink.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tpr.errors import ConfigError, first_line

LAUNCH = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun, Kubernetes and our own launch script tell every process of a run."""
HIGHEST_PORT = 65_535
SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a run; Ctrl-C and schedulers send them to children as well."""

SECONDS_FOR_THE_SPEAKER = 60.0
"""Time in which the process that speaks finds the mistake that another one of its machine has found."""

INTERRUPTED = "tpr: stopped by Ctrl-C\n"
INTERRUPTED_CODE = 128 + signal.SIGINT


@dataclass(frozen=True)
class Launch:
    """The place of this process among several that were started together."""

    rank: int
    world: int
    local_rank: int
    address: str
    port: int


def read_launch() -> Launch | None:
    """What the environment says of other processes; None where this one is alone.

    RANK by itself is set by many clusters and means nothing. Raises ConfigError where WORLD_SIZE announces
    several processes and the rest is missing, no number, or contradicts it.
    """
    found = {name: os.environ.get(name, "").strip() for name in LAUNCH}
    missing = [name for name in LAUNCH if not found[name]]
    if not found["WORLD_SIZE"]:
        return None
    world = _read_number("WORLD_SIZE", found["WORLD_SIZE"], least=1)
    if missing and world > 1:
        raise ConfigError(
            f"WORLD_SIZE={world} announces several processes, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set; start them with scripts/launch.py or torchrun, "
            "or unset WORLD_SIZE"
        )
    if missing:
        return None
    rank = _read_number("RANK", found["RANK"])
    local = _read_number("LOCAL_RANK", os.environ.get("LOCAL_RANK", "").strip() or "0")
    port = _read_number("MASTER_PORT", found["MASTER_PORT"], least=1)
    if port > HIGHEST_PORT:
        raise ConfigError(f"MASTER_PORT={port} is no port; expected a number from 1 to {HIGHEST_PORT}")
    if rank >= world or local > rank:
        raise ConfigError(
            f"RANK={rank}, LOCAL_RANK={local} and WORLD_SIZE={world} contradict each other; ranks count from "
            "0 to WORLD_SIZE - 1: unset them, or start with scripts/launch.py or torchrun"
        )
    return None if world == 1 else Launch(rank, world, local, found["MASTER_ADDR"], port)


def _read_number(name: str, text: str, *, least: int = 0) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise ConfigError(
            f"{name}={text!r} is no whole number from {least}; unset it, or start with torchrun"
        )
    return int(text)


def _group() -> Any | None:
    """torch.distributed if the processes have met; nobody has met where it was never imported."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def check_port(port: int) -> None:
    """Raise ConfigError where this machine cannot listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError(
                f"MASTER_PORT={port} cannot be used on this machine ({error.strerror}); choose another, the "
                "same for all processes, or end what uses it"
            ) from None


def world_size() -> int:
    """Number of processes of this run."""
    dist = _group()
    return 1 if dist is None else int(dist.get_world_size())


def rank() -> int:
    """Number of this process, from 0."""
    dist = _group()
    return 0 if dist is None else int(dist.get_rank())


def is_main_rank() -> bool:
    """True on the one process that speaks and writes."""
    return rank() == 0


def is_speaker() -> bool:
    """True on the one process of each machine that speaks before the processes have met.

    All of a machine find the same mistakes then; those of another machine may be its own. An environment that
    contradicts itself silences nobody.
    """
    try:
        launch = read_launch()
    except ConfigError:
        return True
    return launch is None or launch.local_rank == 0


def claim_last_word() -> bool:
    """True on the first process that asks: it alone says why the run ends.

    What other processes say after it is either the same mistake or that they lost contact.
    """
    dist = _group()
    if dist is None:
        return is_speaker()
    try:
        return int(dist.distributed_c10d._get_default_store().add("last_word", 1)) == 1
    except (RuntimeError, ValueError):
        # The process that keeps the list is gone: better twice than never.
        return True


def outlives_the_speaker() -> bool:
    """Wait for the process that speaks for this machine to end; True where this one must speak after all.

    Before the processes have met, the first that ends with a mistake has all others ended by whoever started
    them, and on a busy machine that would be the one that was to tell it.
    """
    if _group() is not None:
        return False
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    time.sleep(SECONDS_FOR_THE_SPEAKER)
    return True


def end_at_once_on_interrupt() -> None:
    """Let Ctrl-C end this process with one line while it imports: libraries answer exceptions in many ways.

    Where Ctrl-C is ignored, as in the background, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def raise_on_interrupt() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, so that files are left whole."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_at_once(number: int, frame: object) -> None:
    if is_speaker():
        os.write(2, INTERRUPTED.encode())
    os._exit(INTERRUPTED_CODE)


def choose_start_method(asked: str) -> str:
    """The way in which child processes start: as asked, or where that is `auto` the best of this system.

    Forking is quickest; on other systems than Linux, libraries do not outlive it.
    """
    if asked != "auto":
        return asked
    return "fork" if sys.platform == "linux" else "spawn"


@contextmanager
def hold_signals() -> Iterator[None]:
    """Keep signals that end a run waiting while children start, which would die of them half-way.

    A child inherits this, and lets go of it in `prepare_child`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare_child(*obeyed: int) -> None:
    """In a child process: leave the signals but the `obeyed` ones to the parent, and end when it ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number in obeyed else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def describe_lost_worker(reason: str) -> str:
    """What is said where a loader worker is gone.

    reason: what ended it, as torch and `signal.strsignal` put it.
    """
    if any(name in reason for name in ("Killed", "Bus error")):
        return (
            f"a loader worker was lost ({reason}); the machine, or the container's limit, has probably no "
            "more memory: lower runtime.workers or data.batch, then start the same command again to go on"
        )
    return (
        f"a loader worker was lost ({reason}); it met a fault of a library or of the machine: start the same "
        "command again to go on, and if it happens again with runtime.workers=0, which shows where"
    )


def describe_exit(code: int) -> str:
    """How a child process ended, from its exit code, in the words of `explain_lost_worker`'s errors."""
    if code < 0:
        return f"killed by signal: {signal.strsignal(-code)}"
    return f"exited unexpectedly with exit code {code}"


def is_lost_worker(error: RuntimeError) -> bool:
    """True for an error that torch raises, wherever the main process is, when a loader worker dies."""
    return str(error).startswith("DataLoader worker (pid")


def explain_lost_worker(error: RuntimeError) -> str | None:
    """The line for such an error, None for others."""
    return describe_lost_worker(first_line(error).rstrip(". ")) if is_lost_worker(error) else None
