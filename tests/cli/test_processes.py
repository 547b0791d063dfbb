"""Several processes as a person starts them: one table, one message, no hang, and a run that goes on."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import TINY_CLIP
from tests.cli.screen import ROOT, Outcome, make_environment, read_table
from tests.processes import LAST_RESORT, Processes, wait_until

pytestmark = [pytest.mark.ddp, pytest.mark.slow]
CONFIG = ROOT / "configs" / "irra" / "cuhk_pedes.yaml"
NAME = "irra-cuhk_pedes"
SECONDS_TO_END = 600
"""Longest time in which the processes that are left must end when one dies: by itself gloo waits for 1800."""


class Command:
    """A `scripts/launch.py train ...` under way; its screen goes to files."""

    def __init__(self, started: Processes, folder: Path, ranks: int, words: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.screens = folder / "out.txt", folder / "err.txt"
        with self.screens[0].open("w") as out, self.screens[1].open("w") as err:
            self.process = started.start(
                [sys.executable, str(ROOT / "scripts" / "launch.py"), "train", str(CONFIG), *words],
                env=make_environment(NPROC=str(ranks)),
                cwd=ROOT,
                stdout=out,
                stderr=err,
            )

    def finish(self, seconds: float = LAST_RESORT) -> Outcome:
        """Wait for the end."""
        code = self.process.wait(seconds)
        return Outcome(code, *(path.read_text() for path in self.screens))

    def find_rank(self, rank: int) -> int:
        """The process id of one rank."""
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == self.process.pid and b"RANK=%d" % rank in variables:
                return int(folder.name)
        raise AssertionError(f"no process of rank {rank}")


Start = Callable[..., Command]


@pytest.fixture
def start(world: Path, tmp_path: Path, processes: Processes) -> Start:
    """Starts IRRA's recipe on the tiny world in its own output folder."""
    numbers = count()

    def run(*words: str, ranks: int, output: str = "runs") -> Command:
        options = [
            TINY_CLIP, "model.weights=null", f"data.root={world}", "data.image_size=[64,32]",
            "data.batch=8", "runtime.workers=0", "runtime.device=cpu", "runtime.log_every_steps=1",
            "report.tensorboard=false",
            "report.ranking_queries=2", "optim.lr=1e-3", f"runtime.output={tmp_path / output}",
        ]  # fmt: skip
        return Command(processes, tmp_path / f"screen-{next(numbers)}", ranks, [*options, *words])

    return run


def wait_for_step(folder: Path, step: int, command: Command) -> None:
    """Wait until the journal of a run has come so far."""
    path = folder / "journal.jsonl"
    wait_until(
        lambda: path.exists() and len(path.read_text().splitlines()) >= step,
        alive=command.process,
    )


def read_results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


def read_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


WHOLE = ("schedule.epochs=2", "schedule.warmup_epochs=1")


def test_two_processes_end_with_the_table_of_one_and_a_second_start_prints_it_at_once(
    start: Start, tmp_path: Path
) -> None:
    alone = start(*WHOLE, ranks=1, output="one").finish()
    together = start(*WHOLE, ranks=2, output="two").finish()
    assert (alone.code, together.code) == (0, 0), together.err
    assert read_table(together.out) == read_table(alone.out)
    assert together.out.count("run folder:") == 1
    assert read_results(tmp_path / "two" / NAME) == read_results(tmp_path / "one" / NAME)
    assert sorted(path.name for path in (tmp_path / "two" / NAME).iterdir()) == sorted(
        path.name for path in (tmp_path / "one" / NAME).iterdir()
    )
    steps = [
        [
            line
            for line in (tmp_path / name / NAME / "journal.jsonl").read_text().splitlines()
            if '"loss"' in line
        ]
        for name in ("one", "two")
    ]
    assert len(steps[0]) == len(steps[1]) > 10

    before = (tmp_path / "two" / NAME / "best.pt").stat().st_mtime_ns
    again = start(*WHOLE, ranks=2, output="two").finish()
    assert again.code == 0
    assert read_table(again.out) == read_table(alone.out)
    assert "parameters" not in again.out, "nothing was built"
    assert (tmp_path / "two" / NAME / "best.pt").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "two").iterdir()] == [NAME]


@pytest.mark.parametrize("rank", [0, 1])
def test_when_a_process_is_killed_the_other_ends_soon_with_a_message(
    rank: int, start: Start, tmp_path: Path
) -> None:
    command = start("schedule.epochs=500", "runtime.save_every_steps=2", ranks=2)
    wait_for_step(tmp_path / "runs" / NAME, 4, command)
    os.kill(command.find_rank(rank), signal.SIGKILL)
    outcome = command.finish(SECONDS_TO_END)
    assert outcome.code not in (0, None)
    # Whichever comes first: the broken connection, or the SIGTERM by which torchrun ends what is left.
    lost = rf"tpr: rank {1 - rank}: lost contact with another process.*start the same command again to go on"
    told = r"warning: stopped by SIGTERM after step \d+; .*last\.pt continues from there when started again"
    lines = [line for line in outcome.err.splitlines() if line.startswith(("tpr: ", "warning: stopped"))]
    assert len(lines) == 1, outcome.err
    assert re.fullmatch(rf"{lost}|{told}", lines[0]), outcome.err
    assert "Traceback" not in outcome.err
    assert read_state(tmp_path / "runs" / NAME / "last.pt")["step"] >= 2


@pytest.mark.parametrize(
    ("ranks", "number", "workers"),
    [(1, signal.SIGTERM, 1), (2, signal.SIGINT, 0)],
)
def test_a_run_that_was_told_to_end_goes_on_as_if_it_had_not_been(
    ranks: int, number: signal.Signals, workers: int, start: Start, tmp_path: Path
) -> None:
    words = ("schedule.epochs=6", "evaluation.every_epochs=3", f"runtime.workers={workers}")
    whole = start(*words, ranks=ranks, output="whole").finish()
    assert whole.code == 0, whole.err

    command = start(*words, ranks=ranks)
    folder = tmp_path / "runs" / NAME
    wait_for_step(folder, 3, command)
    # To the whole group, as a terminal's Ctrl-C and a cluster's scheduler send it.
    os.killpg(command.process.pid, number)
    stopped = command.finish(SECONDS_TO_END)
    assert stopped.code == 128 + number
    steps = read_state(folder / "last.pt")["step"]
    assert stopped.err == (
        f"warning: stopped by {number.name} after step {steps}; "
        f"{folder / 'last.pt'} continues from there when started again\n"
    )
    assert 3 <= steps < read_state(tmp_path / "whole" / NAME / "last.pt")["step"]

    resumed = start(*words, ranks=ranks).finish()
    assert resumed.code == 0, resumed.err
    assert f"resumed {folder / 'last.pt'} at epoch" in resumed.out
    assert read_table(resumed.out) == read_table(whole.out)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [NAME]
    for name in ("last.pt", "best.pt"):
        expected, found = read_state(tmp_path / "whole" / NAME / name), read_state(folder / name)
        assert (found["step"], found["best"]) == (expected["step"], expected["best"])
        for key, value in expected["model"].items():
            assert torch.equal(found["model"][key], value), key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.ler=1"], "tpr: optim.ler: no such option in Optim (did you mean 'lr'?)"),
        (["init.checkpoint=/nonexistent.pt"], "tpr: /nonexistent.pt: no such file; expected a checkpoint"),
        (["data.batch=4096"], "tpr: data.batch=4096"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_for_all_processes(
    words: list[str], message: str, start: Start, tmp_path: Path
) -> None:
    assert start(*words, ranks=2).finish().message.startswith(message)
    assert not list((tmp_path / "runs").glob("*"))


def test_an_image_that_one_process_cannot_read_is_one_line(start: Start, world: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(world, tmp_path / "spoilt")
    images = sorted((tmp_path / "spoilt" / "CUHK-PEDES").rglob("*.jpg"))
    images[0].write_bytes(b"")
    outcome = start(f"data.root={tmp_path / 'spoilt'}", "evaluation.select_on=last", ranks=2).finish()
    assert "is empty (0 bytes)" in outcome.message
    assert str(images[0].relative_to(tmp_path / "spoilt")) in outcome.message


@pytest.mark.parametrize(
    "script", [["-m", "tpr"], [str(ROOT / "scripts" / "launch.py")]], ids=["tpr", "launch"]
)
def test_ctrl_c_while_two_processes_draw_is_one_line(
    script: list[str], tmp_path: Path, processes: Processes
) -> None:
    words = ["draw", str(tmp_path / "drawn"), "--identities", "300", "--workers", "2"]
    process = processes.start(
        [sys.executable, *script, *words],
        env=make_environment(NPROC="1"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    unfinished = tmp_path / "drawn" / ".drawing-LUPerson-MLLM"
    wait_until(lambda: any(path.is_file() for path in unfinished.rglob("*")), alive=process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS_TO_END)
    assert (process.returncode, err) == (130, "tpr: stopped by Ctrl-C\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
