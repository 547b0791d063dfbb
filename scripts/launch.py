"""Start a tpr command in as many processes as the machine has GPUs, or in one on a CPU.

    python scripts/launch.py train CONFIG [key=value ...]

NPROC overrides the number of processes (`auto`: one per visible GPU). NNODES, NODE_RANK, MASTER_ADDR and
MASTER_PORT are for several machines and mean what they mean to torchrun; each machine starts as many
processes. The first process that fails ends all, and its exit code is that of this script.
"""

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tpr.errors import ConfigError, UserError
from tpr.processes import HIGHEST_PORT, check_port, end_at_once_on_interrupt

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_END = 30
"""Time for a process to write its checkpoint after a signal."""
PASSED_ON = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGQUIT: signal.SIGTERM,
}
"""Signals to this script, and what its processes get for them."""


@dataclass(frozen=True)
class Plan:
    """How many processes start here, and where all of them meet."""

    processes: int
    nodes: int
    node: int
    address: str
    port: int

    def describe_process(self, local_rank: int) -> dict[str, str]:
        """The environment of one process."""
        threads = max(1, (os.cpu_count() or 1) // self.processes)
        return {
            "OMP_NUM_THREADS": str(threads),
            **os.environ,
            "RANK": str(self.node * self.processes + local_rank),
            "WORLD_SIZE": str(self.nodes * self.processes),
            "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(self.processes),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            # As with torchrun: the store lies here, and outlives a process that fails.
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }


def read_plan() -> Plan:
    """The plan that the environment describes; raises ConfigError. Torch is imported only to count GPUs."""
    processes = 0 if os.environ.get("NPROC", "auto") == "auto" else read_number("NPROC", 1, least=1)
    nodes = read_number("NNODES", 1, least=1)
    node = read_number("NODE_RANK", 0)
    port = read_number("MASTER_PORT", 29500, least=1)
    if port > HIGHEST_PORT:
        raise ConfigError(f"MASTER_PORT={port} is no port; expected a number from 1 to {HIGHEST_PORT}")
    address = os.environ.get("MASTER_ADDR", "").strip()
    if nodes > 1 and not address:
        raise ConfigError(
            f"NNODES={nodes} needs MASTER_ADDR: the name or address of the machine with NODE_RANK=0"
        )
    if node >= nodes:
        raise ConfigError(f"NODE_RANK={node} is not below NNODES={nodes}; machines count from 0")
    if not processes:
        import torch

        processes = max(1, torch.cuda.device_count())
    if nodes == 1 and processes > 1:
        address, port = "127.0.0.1", find_free_port()
    return Plan(processes, nodes, node, address, port)


def read_number(name: str, default: int, *, least: int = 0) -> int:
    """A whole number of the environment; raises ConfigError."""
    text = os.environ.get(name, str(default)).strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        known = " or auto (one per visible GPU)" if name == "NPROC" else ""
        raise ConfigError(
            f"{name}={text!r} is not known; expected a whole number from {least}{known}, or unset it"
        )
    return int(text)


def find_free_port() -> int:
    """A port that nothing on this machine uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keep_store(plan: Plan) -> object:
    """What the processes of all machines meet in, on the first machine; raises ConfigError."""
    if plan.node:
        return None
    check_port(plan.port)
    from torch.distributed import TCPStore

    return TCPStore("0.0.0.0", plan.port, is_master=True, wait_for_workers=False)


class Asked(Exception):
    """This script got a signal that ends the run."""

    def __init__(self, number: int) -> None:
        self.number = number


def raise_asked(number: int, frame: object) -> None:
    """Note the first signal; the processes answer it, and a second one ends them at once."""
    for other in PASSED_ON:
        signal.signal(other, raise_again)
    raise Asked(number)


def raise_again(number: int, frame: object) -> None:
    """A second signal, in the wait for the processes."""
    raise KeyboardInterrupt


def start_all(plan: Plan, words: Sequence[str]) -> int:
    """Run `tpr WORDS` in all processes of this machine; the exit code of the first that fails, or 0."""
    children: list[subprocess.Popen[bytes]] = []
    store = keep_store(plan)
    try:
        for number in PASSED_ON:
            signal.signal(number, raise_asked)
        for local_rank in range(plan.processes):
            # In a session of its own: a terminal's Ctrl-C comes once, from here.
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tpr", *words],
                    env=plan.describe_process(local_rank),
                    start_new_session=True,
                )
            )
        return wait_for_all(children)
    except Asked as asked:
        # The processes end as they do on this signal: the main one writes its checkpoint.
        end_all(children, PASSED_ON[signal.Signals(asked.number)])
        return 128 + asked.number
    finally:
        end_all(children, signal.SIGKILL)
        del store


def wait_for_all(children: Sequence["subprocess.Popen[bytes]"]) -> int:
    """Wait until all have ended well, or one has failed: then the others end, too."""
    while True:
        codes = [child.poll() for child in children]
        failed = next((code for code in codes if code), None)
        if failed is not None:
            end_all(children, signal.SIGTERM)
            return failed if failed > 0 else 128 - failed
        if all(code == 0 for code in codes):
            return 0
        time.sleep(SECONDS_BETWEEN_LOOKS)


def end_all(children: Sequence["subprocess.Popen[bytes]"], number: signal.Signals) -> None:
    """Send a signal to what still runs, with its own children, and wait a while."""
    left = [child for child in children if child.poll() is None]
    for child in left:
        os.killpg(child.pid, number)
    until = time.monotonic() + SECONDS_TO_END
    for child in left:
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            return


def main() -> int:
    """Run `tpr` with this script's arguments."""
    end_at_once_on_interrupt()
    try:
        plan = read_plan()
        if plan.processes > 1 or plan.nodes > 1:
            return start_all(plan, sys.argv[1:])
    except UserError as error:
        sys.stderr.write(f"tpr: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    sys.argv = ["tpr", *sys.argv[1:]]
    runpy.run_module("tpr", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
