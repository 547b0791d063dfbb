"""How the processes of a run find each other, and what is said while some of them are missing."""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from tpr.errors import ConfigError, TrainingError, first_line
from tpr.processes import Launch, check_port

logger = logging.getLogger(__name__)

SECONDS_UNTIL_SAID = 30.0
"""After so long a wait it is said who is missing; an address that is not known so long is a mistake."""
SECONDS_BETWEEN_LOOKS = 0.1
ALL = "tpr/all"


def meet(launch: Launch, timeout_seconds: float) -> Store:
    """The store that all processes of the run share, once all of them are here.

    Raises ConfigError for an address that nobody knows, a port in use or processes that count differently,
    TrainingError where somebody is missing at the end of the time.
    """
    end = time.monotonic() + timeout_seconds
    store = _open_store(launch, end)
    store.set(_place(launch.rank), str(launch.world))
    if launch.rank == 0:
        _wait_for_ranks(store, launch, end)
        store.set(ALL, "")
    else:
        missing = "rank 0, or another that it waits for"
        _wait(lambda: store.check([ALL]), lambda: missing, launch, end)
    return store


def _open_store(launch: Launch, end: float) -> Store:
    # torchrun keeps the store in a process of its own.
    is_kept_here = launch.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    _find_address(launch)
    if is_kept_here:
        check_port(launch.port)
    else:
        _wait(
            lambda: _answers(launch),
            lambda: f"rank 0 at MASTER_ADDR={launch.address}, MASTER_PORT={launch.port}",
            launch,
            end,
        )
    try:
        return TCPStore(
            launch.address,
            launch.port,
            launch.world,
            is_master=is_kept_here,
            timeout=timedelta(seconds=max(1.0, end - time.monotonic())),
            wait_for_workers=False,
        )
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise ConfigError(
            f"MASTER_ADDR={launch.address}, MASTER_PORT={launch.port}: the processes cannot meet there "
            f"({reason}); choose a port that is free on the machine of rank 0"
        ) from error


def _find_address(launch: Launch) -> None:
    """Wait a little for a name that is not known yet: a cluster's own names come after its machines."""
    end = time.monotonic() + SECONDS_UNTIL_SAID
    while True:
        try:
            socket.getaddrinfo(launch.address, launch.port)
            return
        except (OSError, UnicodeError) as error:
            if time.monotonic() > end:
                raise ConfigError(
                    f"MASTER_ADDR={launch.address!r} is no machine that is known here ({error}); expected "
                    "the name or address of the machine of rank 0"
                ) from None
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _answers(launch: Launch) -> bool:
    try:
        socket.create_connection((launch.address, launch.port), timeout=5).close()
    except OSError:
        return False
    return True


def _wait_for_ranks(store: Store, launch: Launch, end: float) -> None:
    missing = list(range(launch.world))

    def are_here() -> bool:
        for rank in list(missing):
            if not store.check([_place(rank)]):
                continue
            world = store.get(_place(rank)).decode()
            if world != str(launch.world):
                raise ConfigError(
                    f"WORLD_SIZE={world} for rank {rank}, but {launch.world} for rank 0; start as many "
                    "processes on every machine (NPROC), and name the same number of machines (NNODES)"
                )
            missing.remove(rank)
        return not missing

    _wait(are_here, lambda: _name_ranks(missing, launch.world), launch, end)


def _wait(is_done: Callable[[], bool], name_missing: Callable[[], str], launch: Launch, end: float) -> None:
    """Look until it is done; say once who is missing. Only one process of a machine speaks of others."""
    started, is_said = time.monotonic(), launch.local_rank != 0
    level = logging.WARNING if launch.rank == 0 else logging.ERROR
    while not is_done():
        now = time.monotonic()
        if now > end:
            text = (
                f"waited {now - started:.0f} s for {name_missing()}; start the same command on every "
                "machine, each with its own NODE_RANK, and see that they reach each other"
            )
            if launch.rank and launch.local_rank == 0:
                logger.error("%s", text)
            raise TrainingError(text)
        if not is_said and now - started > SECONDS_UNTIL_SAID:
            is_said = True
            left = end - now
            logger.log(level, "still waiting for %s; for %.0f s more", name_missing(), left)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _name_ranks(ranks: Sequence[int], world: int) -> str:
    """`rank 3 of 4` or `ranks 8 to 15 of 16`; of many with gaps their number."""
    if len(ranks) == 1:
        return f"rank {ranks[0]} of {world}"
    if list(ranks) == list(range(ranks[0], ranks[-1] + 1)):
        return f"ranks {ranks[0]} to {ranks[-1]} of {world}"
    return f"ranks {', '.join(map(str, ranks[:8]))}{', ...' if len(ranks) > 8 else ''} of {world}"


def _place(rank: int) -> str:
    return f"tpr/here/{rank}"
