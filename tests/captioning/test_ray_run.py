"""Ray runs the same plan: same bytes, nothing lost or doubled when a worker is killed."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.captioning.plans import failures_of, make_crops, make_plan, rows_of, run_plan
from tests.processes import LAST_RESORT, Processes, wait_until
from tpr.captioning.plan import CaptionPlan
from tpr.captioning.shards import failures_path, marker_path, parts_path
from tpr.captioning.verify import verify_plan
from tpr.cli import main

BAD = {"bad": 0.4, "batch": 2}


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return make_crops(tmp_path / "crops")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(processes: Processes) -> Start:
    """Starts a run; its cluster ends with the test, too."""

    def run(plan: CaptionPlan, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tpr", "caption", "run", str(plan.folder), *words]
        return processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    return run


def end(run: "subprocess.Popen[str]") -> str:
    out, _ = run.communicate(timeout=LAST_RESORT)
    assert run.returncode == 0, out
    return out


def bytes_of(plan: CaptionPlan) -> list[bytes]:
    return [
        path(plan, shard).read_bytes() for shard in range(plan.shards) for path in (parts_path, failures_path)
    ]


def find_workers(parent: int) -> list[int]:
    """Processes below `parent` that Ray has given our class."""
    parents = dict(list_processes())
    found = []
    for process in parents:
        line, place = process, process
        while line in parents and line != parent:
            line = parents[line]
        if line == parent and "RayWorker" in read_command(place):
            found.append(process)
    return sorted(found)


def read_command(process: int) -> str:
    """The words that started a process; none where it has ended since it was listed."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def list_processes() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                yield int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue


@pytest.mark.slow
def test_one_of_three_workers_is_killed_and_nothing_is_lost_or_doubled(
    tmp_path: Path, crops: Path, start: Start
) -> None:
    pytest.importorskip("ray")
    whole = make_plan(tmp_path / "whole", crops, engine=BAD)
    run_plan(whole)
    # A pipe in place of an image holds the run until the worker is dead, on any machine.
    image, aside, pipe = crops / "0003" / "02_1.jpg", tmp_path / "aside.jpg", tmp_path / "pipe"
    image.rename(aside)
    os.mkfifo(pipe)
    os.link(pipe, image)
    plan = make_plan(tmp_path / "plan", crops, engine=BAD)
    run_here = make_plan(tmp_path / "here", crops, engine=BAD)
    assert plan.fingerprint == whole.fingerprint == run_here.fingerprint
    run = start(plan, "--ray", "--workers", "3")
    wait_until(
        lambda: len(find_workers(run.pid)) == 3 and list((plan.folder / "done").glob("*.json")), alive=run
    )
    os.kill(random.choice(find_workers(run.pid)), signal.SIGKILL)
    aside.replace(image)
    release(pipe, image.read_bytes())
    assert "40 captions, 0 failed" in end(run)
    assert bytes_of(plan) == bytes_of(whole)
    assert verify_plan(plan).requests == plan.requests
    assert not list((plan.folder / "work").iterdir())


def release(pipe: Path, content: bytes) -> None:
    """Feed whoever still reads the pipe, once; nobody where the dead worker had been the reader."""
    try:
        writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        assert error.errno == errno.ENXIO
        return
    # The reader may be the dead worker, which the system has not quite buried.
    with suppress(BrokenPipeError):
        os.write(writer, content)
    os.close(writer)


@pytest.mark.slow
def test_ray_goes_on_where_a_run_here_stopped_and_retries_what_failed(
    tmp_path: Path, crops: Path, start: Start
) -> None:
    pytest.importorskip("ray")
    plans = [
        make_plan(tmp_path / name, crops, engine={**BAD, "bad": 0.8}, attempts=2) for name in ("here", "ray")
    ]
    here, plan = plans
    for one in plans:
        run_plan(one)
    marker_path(plan, 2).unlink()
    kept = marker_path(plan, 3).read_bytes()
    assert "failed" in end(start(plan, "--ray", "--workers", "2"))
    assert bytes_of(plan) == bytes_of(here)
    assert marker_path(plan, 3).read_bytes() == kept
    before = len(failures_of(plan))
    assert main(["caption", "run", str(here.folder), "--retry-failures"]) == 0
    end(start(plan, "--ray", "--retry-failures"))
    assert 0 < len(failures_of(plan)) < before
    assert bytes_of(plan) == bytes_of(here)
    assert verify_plan(plan).captions == len(rows_of(plan))


def test_without_ray_one_line_names_the_extra(tmp_path: Path, crops: Path, capfd, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    plan = make_plan(tmp_path / "plan", crops)
    assert main(["caption", "run", str(plan.folder), "--ray"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "pip install 'tpr[ray]'" in line


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, crops: Path, start: Start) -> None:
    pytest.importorskip("ray")
    plan = make_plan(tmp_path / "plan", crops)
    run = start(plan, "--ray", "127.0.0.1:1")
    out, _ = run.communicate(timeout=LAST_RESORT)
    assert run.returncode == 2
    assert out.splitlines()[-1].startswith("tpr: --ray 127.0.0.1:1: no cluster is reached")
