"""Tests leave no process behind, and stop waiting for what cannot come."""

import os
import sys
import time

import numpy as np
import numpy.typing as npt
import pytest
import threadpoolctl
import torch

from tests.processes import MARK, Processes, end_forked, find_marked, fork_child, wait_until
from tests.ranks import run_ranks

GRANDCHILD = (
    "import subprocess, sys, time\n"
    "words = [sys.executable, '-c', 'print(1, flush=True); import time; time.sleep(600)']\n"
    "subprocess.Popen(words, start_new_session=True)\n"
    "time.sleep(600)\n"
)


def test_a_process_ends_with_its_test_and_so_do_those_that_left_its_session() -> None:
    with Processes() as processes:
        process = processes.start([sys.executable, "-c", GRANDCHILD], stdout=-1)
        assert process.stdout is not None and process.stdout.readline() == "1\n"
        assert len(find_marked(f"{MARK}={processes.token}")) == 2
    assert process.returncode is not None
    assert not find_marked(f"{MARK}={processes.token}")


def test_a_forked_child_ends_with_its_test() -> None:
    child = fork_child(lambda: time.sleep(600))
    end_forked()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_forked_child_computes_though_its_parent_had_several_threads() -> None:
    points = np.random.default_rng(0).random((600, 2))
    compute(points)  # limits reach only the copies of OpenMP that are loaded
    with threadpoolctl.threadpool_limits(2):
        compute(points)
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        torch.rand(1_000_000).exp()
        child = fork_child(lambda: compute(points))
        torch.set_num_threads(before)
    assert os.waitpid(child, 0)[1] == 0


def compute(points: "npt.NDArray[np.float64]") -> None:
    from sklearn.cluster import KMeans  # takes a second, which not every process of the tests needs

    KMeans(2, n_init=1).fit(points)
    torch.rand(1_000_000).exp()


def test_waiting_ends_with_the_process_that_is_waited_for(processes: Processes) -> None:
    process = processes.start([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(AssertionError, match="exit code 3"):
        wait_until(lambda: False, alive=process)


def fail_on_rank(rank: int) -> None:
    if rank == 1:
        raise ValueError("this rank fails")
    time.sleep(600)


def test_what_a_rank_raises_ends_all() -> None:
    with pytest.raises(Exception, match="this rank fails"):
        run_ranks(fail_on_rank, ())
