"""A plan is worked through once, whatever happens on the way."""

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.captioning.plans import failures_of, make_crops, make_plan, rows_of, run_plan
from tests.processes import fork_child, wait_until
from tpr.captioning.engines import CaptionReply, CaptionRequest
from tpr.captioning.engines.echo import Echo
from tpr.captioning.plan import PLAN, CaptionPlan, read_plan
from tpr.captioning.shard_work import ShardWorker
from tpr.captioning.shards import journal_path, marker_path, parts_path
from tpr.captioning.verify import verify_plan
from tpr.cli import main
from tpr.errors import BusyError, DataError
from tpr.locks import hold_folder, is_held

BAD = {"bad": 0.4}


class Counting(Echo):
    """Echo that remembers what it was asked for."""

    def __init__(self, options: Echo.Options) -> None:
        super().__init__(options)
        self.asked: list[CaptionRequest] = []

    def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
        self.asked += requests
        return super().generate(requests)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return make_crops(tmp_path / "crops")


def test_every_request_is_a_caption_or_a_failure(tmp_path: Path, crops: Path) -> None:
    (crops / "0001" / "broken.jpg").write_bytes(b"no image")
    (crops / "0001" / "empty.png").write_bytes(b"")
    plan = make_plan(tmp_path / "plan", crops, engine=BAD, attempts=3)
    run_plan(plan)
    rows, failures = rows_of(plan), failures_of(plan)
    answered = [(row["file_path"], row["view"]) for row in (*rows, *failures)]
    assert len(answered) == len(set(answered)) == plan.requests == 44
    unreadable = [row for row in failures if row["reason"] == "unreadable image"]
    assert sorted({row["file_path"] for row in unreadable}) == ["0001/broken.jpg", "0001/empty.png"]
    assert len(unreadable) == 4 and {row["attempts"] for row in unreadable} == {1}
    assert {row["attempts"] for row in failures if row not in unreadable} <= {3}
    assert {row["identity"] for row in rows} == {1, 2, 3, 4, 5}
    assert verify_plan(plan).captions == len(rows)


def test_a_retry_has_another_seed_and_template(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops, engine={"bad": 1.0}, attempts=4)
    engine = Counting(plan.engine.options)
    run_plan(plan, engine)
    assert len(engine.asked) == 4 * plan.requests
    tries = [
        request for request in engine.asked if (request.image, request.view) == ("0001/00_0.jpg", "dynamic-0")
    ]
    assert [request.attempt for request in tries] == [0, 1, 2, 3]
    assert len({request.seed for request in tries}) == len({request.template for request in tries}) == 4
    assert not rows_of(plan) and len(failures_of(plan)) == plan.requests


def test_shards_and_batches_change_nothing(tmp_path: Path, crops: Path) -> None:
    plans = [
        make_plan(tmp_path / str(size), crops, shard_images=size, engine={**BAD, "batch": batch})
        for size, batch in ((1, 1), (7, 5), (100, 64))
    ]
    for plan in plans:
        run_plan(plan)
    assert rows_of(plans[0]) == rows_of(plans[1]) == rows_of(plans[2])
    assert failures_of(plans[0]) == failures_of(plans[2])
    assert len(rows_of(plans[0])) > 30


def test_a_finished_plan_asks_for_nothing(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops)
    run_plan(plan)
    engine = Counting(plan.engine.options)
    run_plan(plan, engine)
    assert not engine.asked


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_and_doubles_nothing(tmp_path: Path, crops: Path) -> None:
    whole = make_plan(tmp_path / "whole", crops, engine={**BAD, "batch": 2})
    length = count_calls(lambda: run_plan(whole))
    plan = make_plan(tmp_path / "plan", crops, engine={**BAD, "batch": 2})
    draw, kills = random.Random(5), 0
    for _ in range(60):
        # A moment is a number of calls, not a time: the first three kills together are worth less work than
        # there is, on any machine.
        moment = draw.randrange(length // 20, length // 4)
        _, status = os.waitpid(fork_child(lambda moment=moment: run_and_die(plan, moment)), 0)
        if not os.WIFSIGNALED(status):
            break
        kills += 1
    assert kills >= 3
    run_plan(plan)
    assert rows_of(plan) == rows_of(whole)
    assert [row["file_path"] for row in failures_of(plan)] == [row["file_path"] for row in failures_of(whole)]
    assert verify_plan(plan).requests == plan.requests
    assert not list((plan.folder / "work").iterdir())


def run_and_die(plan: CaptionPlan, moment: int) -> None:
    count_calls(lambda: run_plan(plan), moment)


def count_calls(work: Callable[[], object], most: int | None = None) -> int:
    """Calls and returns of functions, also of those in C; at the last one allowed the process is killed."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += 1
        if count == most:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("cut", [0, 5, 60, 400, -1])
def test_a_torn_journal_is_gone_on_with(tmp_path: Path, crops: Path, cut: int) -> None:
    plan = make_plan(tmp_path / "plan", crops, shard_images=50)

    class Dying(Counting):
        def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
            if len(self.asked) > 20:
                raise KeyboardInterrupt
            return super().generate(requests)

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, Dying(plan.engine.options))
    journal = journal_path(plan, 0)
    content = journal.read_bytes()
    journal.write_bytes(content[:cut])
    kept = max(0, content[:cut].count(b"\n") - 1)
    engine = Counting(plan.engine.options)
    run_plan(plan, engine)
    assert len(engine.asked) == plan.requests - kept
    assert len(rows_of(plan)) == plan.requests


def test_a_second_run_says_so_and_stops(tmp_path: Path, crops: Path, capfd) -> None:
    plan = make_plan(tmp_path / "plan", crops)
    with hold_folder(plan.folder):
        assert is_held(plan.folder)
        assert main(["caption", "run", str(plan.folder)]) == 2
        assert "another process is at work there; wait for it" in capfd.readouterr().err
    assert not is_held(plan.folder)


def test_the_lock_dies_with_its_process(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops, engine={"seconds": 600})
    child = fork_child(lambda: run_plan(plan) and None)
    wait_until(lambda: is_held(plan.folder))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not is_held(plan.folder)


def test_two_processes_at_one_shard_take_turns(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops, shard_images=50, engine={**BAD, "batch": 1})

    def work() -> None:
        ShardWorker(plan, Echo(plan.engine.options), plan.root).work(0)

    children = [fork_child(work) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert not list((plan.folder / "work").iterdir())
    assert verify_plan(plan).requests == plan.requests


def test_a_folder_in_which_a_plan_is_being_made_is_refused(tmp_path: Path, crops: Path) -> None:
    (tmp_path / "plan").mkdir()
    with hold_folder(tmp_path / "plan"), pytest.raises(BusyError, match="another process is at work there"):
        make_plan(tmp_path / "plan", crops)
    assert not (tmp_path / "plan" / PLAN).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_one_line(tmp_path: Path, crops: Path, number: int) -> None:
    plan = make_plan(tmp_path / "plan", crops, engine={"seconds": 0.02})
    child = fork_child(lambda: main(["caption", "run", str(plan.folder)]))
    wait_until(lambda: list(plan.folder.glob("done/*.json")))
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + number
    assert not list(plan.folder.rglob("*.partial"))
    run_plan(plan)
    assert verify_plan(plan).captions == plan.requests


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(tmp_path: Path, crops: Path, capfd) -> None:
    plan = make_plan(tmp_path / "plan", crops, shard_images=10)

    def run_with_little_room() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        return main(["caption", "run", str(plan.folder)])

    _, status = os.waitpid(fork_child(run_with_little_room), 0)
    assert os.waitstatus_to_exitcode(status) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("tpr: ") and "free the disk" in line
    assert not list(plan.folder.rglob("*.partial")) and not list(plan.folder.glob("done/*"))
    run_plan(plan)
    assert verify_plan(plan).captions == plan.requests


@pytest.mark.parametrize("keep_marker", [True, False])
def test_a_half_written_shard_is_done_again(tmp_path: Path, crops: Path, keep_marker: bool) -> None:
    plan = make_plan(tmp_path / "plan", crops)
    run_plan(plan)
    before = rows_of(plan)
    parts = parts_path(plan, 2)
    parts.write_bytes(parts.read_bytes()[:100])
    if not keep_marker:
        marker_path(plan, 2).unlink()
    engine = Counting(plan.engine.options)
    run_plan(plan, engine)
    assert len(engine.asked) == plan.shard_requests(2)
    assert rows_of(plan) == before


def test_a_plan_changed_by_hand_is_refused(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops)
    content = json.loads((plan.folder / PLAN).read_text())
    content["settings"]["seed"] = 8
    (plan.folder / PLAN).write_text(json.dumps(content))
    with pytest.raises(DataError, match="was changed after it was written"):
        read_plan(plan.folder)


def test_a_plan_that_changes_under_the_run_is_refused(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops)
    other = make_plan(tmp_path / "other", crops, seed=1)

    class Swapping(Counting):
        def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
            (plan.folder / PLAN).write_bytes((other.folder / PLAN).read_bytes())
            return super().generate(requests)

    with pytest.raises(DataError, match="changed under the run"):
        run_plan(plan, Swapping(plan.engine.options))
    assert not list(plan.folder.glob("done/*"))


def test_shards_of_another_plan_are_refused(tmp_path: Path, crops: Path) -> None:
    plan = make_plan(tmp_path / "plan", crops)
    other = make_plan(tmp_path / "other", crops, seed=1)
    run_plan(other)
    marker_path(other, 0).parent.rename(plan.folder / "done")
    with pytest.raises(DataError, match="belongs to plan"):
        run_plan(plan)


@pytest.mark.slow
def test_ten_thousand_requests_are_quick(tmp_path: Path) -> None:
    crops = make_crops(tmp_path / "crops", people=1, each=1)
    for number in range(2, 1251):
        os.link(crops / "0001" / "00_0.jpg", crops / "0001" / f"{number:05d}.jpg")
    plan = make_plan(
        tmp_path / "plan",
        crops,
        captions={"static": 4, "dynamic": 4},
        shard_images=500,
        engine={"batch": 256, "open_images": False},
    )
    start = time.process_time()
    run_plan(plan)
    assert plan.requests == 10_000
    assert time.process_time() - start < 20, "about 1 s of processor time where nothing else runs"
    assert verify_plan(plan).captions + len(failures_of(plan)) == 10_000
