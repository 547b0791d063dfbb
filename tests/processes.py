"""Processes that tests start: each ends with its test, and with it whatever it started itself."""

import os
import secrets
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import threadpoolctl

LAST_RESORT = 1800.0
"""Seconds after which a test stops waiting: ten times what the longest wait takes on a slow, busy machine."""
MARK = "TPR_TEST_STARTED_THIS"
FORKED: list[int] = []
"""Forked children of the test under way."""


class Processes:
    """Starts processes; none of them, nor of those that they start, outlives the `with` block."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self.started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def start(self, words: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """Start a command in a session of its own; the options are those of `subprocess.Popen`."""
        # Even a process that leaves the session, such as a server of Ray, keeps this variable.
        options["env"] = {**(options.get("env") or os.environ), MARK: self.token}
        process = subprocess.Popen(words, start_new_session=True, text=True, **options)
        self.started.append(process)
        return process

    def run(self, words: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Start a command and wait for its end and its two outputs."""
        process = self.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        out, err = process.communicate(timeout=LAST_RESORT)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def end(self) -> None:
        """Kill what is left, until nothing is."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        while found := find_marked(f"{MARK}={self.token}"):
            for number in found:
                kill(number)
            time.sleep(0.01)
        for process in self.started:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def find_marked(variable: str) -> list[int]:
    """Processes alive with this variable in their environment; none where the system has no /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # What has ended and waits for its parent has no environment any more.
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill(number: int) -> None:
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until(condition: Callable[[], object], *, alive: "subprocess.Popen[str] | None" = None) -> None:
    """Wait for a condition, for as long as the process that is to bring it about is alive."""
    until = time.monotonic() + LAST_RESORT
    while not condition():
        assert alive is None or alive.poll() is None, f"it ended with exit code {alive.returncode}"
        assert time.monotonic() < until, "it did not come so far"
        time.sleep(0.02)


def fork_child(work: Callable[[], int | None]) -> int:
    """The number of a forked process that does some work; it ends with 0, or 1 where that fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child:
        FORKED.append(child)
        return child
    code = 1
    try:
        use_one_thread()
        code = work() or 0
    finally:
        os._exit(code)


def use_one_thread() -> None:
    """In a forked process: it has none of the threads of OpenMP, and would wait for them for ever."""
    # There are several copies of OpenMP in a process, such as torch's and scikit-learn's.
    threadpoolctl.threadpool_limits(1)
    # What only hands tests to others imports no torch, which takes seconds.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def end_forked() -> None:
    """Kill the forked children that are left."""
    while FORKED:
        child = FORKED.pop()
        try:
            if os.waitpid(child, os.WNOHANG) == (0, 0):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        except ChildProcessError:
            continue  # the test has waited for it
