"""Several processes as a person starts them: one table, one message, no hang, and a run that goes on."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
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
WHOLE = ("schedule.epochs=4", "evaluation.every_epochs=2", "schedule.warmup_epochs=1")
WORKERS = {1: 1, 2: 0}
"""Loader processes by number of ranks; they change no number."""


def make_words(world: Path, output: Path) -> list[str]:
    """IRRA's recipe on the tiny world, with its own output folder."""
    return [
        TINY_CLIP, "model.weights=null", f"data.root={world}", "data.image_size=[64,32]", "data.batch=8",
        "runtime.device=cpu", "runtime.log_every_steps=1", "report.tensorboard=false",
        "report.ranking_queries=2", "optim.lr=1e-3", f"runtime.output={output}",
    ]  # fmt: skip


@pytest.fixture
def start(world: Path, tmp_path: Path, processes: Processes) -> Start:
    """Starts IRRA's recipe on the tiny world."""
    numbers = count()

    def run(*words: str, ranks: int, output: Path = tmp_path / "runs", root: Path = world) -> Command:
        options = [*make_words(root, output), f"runtime.workers={WORKERS[ranks]}", *words]
        return Command(processes, tmp_path / f"screen-{next(numbers)}", ranks, options)

    return run


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Outcome, Path]]:
    """The screen and the run folder of a whole run by its number of ranks; each is trained once."""

    @cache
    def train(ranks: int) -> tuple[Outcome, Path]:
        folder = tmp_path_factory.mktemp("whole")
        words = [*make_words(world, folder / "runs"), f"runtime.workers={WORKERS[ranks]}", *WHOLE]
        with Processes() as started:
            outcome = Command(started, folder, ranks, words).finish()
        assert outcome.code == 0, outcome.err
        return outcome, folder / "runs" / NAME

    return train


Whole = Callable[[int], tuple[Outcome, Path]]


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


def test_two_processes_end_with_the_table_of_one_and_a_second_start_prints_it_at_once(
    start: Start, whole: Whole
) -> None:
    (alone, one), (together, two) = whole(1), whole(2)
    assert read_table(together.out) == read_table(alone.out)
    assert together.out.count("run folder:") == 1
    assert read_results(two) == read_results(one)
    assert (two / "queries.parquet").read_bytes() == (one / "queries.parquet").read_bytes()
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    steps = [
        [line for line in (folder / "journal.jsonl").read_text().splitlines() if '"loss"' in line]
        for folder in (one, two)
    ]
    assert len(steps[0]) == len(steps[1]) > 10

    before = (two / "best.pt").stat().st_mtime_ns
    again = start(*WHOLE, ranks=2, output=two.parent).finish()
    assert again.code == 0
    assert read_table(again.out) == read_table(alone.out)
    assert "parameters" not in again.out, "nothing was built"
    assert (two / "best.pt").stat().st_mtime_ns == before
    assert [path.name for path in two.parent.iterdir()] == [NAME]


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


@pytest.mark.parametrize(("ranks", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_run_that_was_told_to_end_goes_on_as_if_it_had_not_been(
    ranks: int, number: signal.Signals, start: Start, whole: Whole, tmp_path: Path
) -> None:
    uncut, expected_folder = whole(ranks)
    command = start(*WHOLE, ranks=ranks)
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
    assert 3 <= steps < read_state(expected_folder / "last.pt")["step"]

    resumed = start(*WHOLE, ranks=ranks).finish()
    assert resumed.code == 0, resumed.err
    assert f"resumed {folder / 'last.pt'} at epoch" in resumed.out
    assert read_table(resumed.out) == read_table(uncut.out)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [NAME]
    for name in ("last.pt", "best.pt"):
        expected, found = read_state(expected_folder / name), read_state(folder / name)
        assert (found["step"], found["best"]) == (expected["step"], expected["best"])
        for key, value in expected["model"].items():
            assert torch.equal(found["model"][key], value), key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # Before the processes have met, and after.
        (["optim.ler=1"], "tpr: optim.ler: no such option in Optim (did you mean 'lr'?)"),
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
    outcome = start("evaluation.select_on=last", ranks=2, root=tmp_path / "spoilt").finish()
    assert "is empty (0 bytes)" in outcome.message
    assert str(images[0].relative_to(tmp_path / "spoilt")) in outcome.message


@pytest.mark.parametrize(
    "script", [["-m", "tpr"], [str(ROOT / "scripts" / "launch.py")]], ids=["tpr", "launch"]
)
def test_ctrl_c_while_two_processes_draw_is_one_line(
    script: list[str], tmp_path: Path, processes: Processes
) -> None:
    words = ["draw", str(tmp_path / "drawn"), "--identities", "100", "--workers", "2"]
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
