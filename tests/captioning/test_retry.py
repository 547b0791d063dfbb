"""What failed is asked for again, alone, and every caption is there exactly once at the end."""

import json
import os
import random
from pathlib import Path

import pytest

from tests.captioning.plans import failures_of, make_crops, make_plan, rows_of, run_plan
from tests.captioning.test_run import Counting, count_calls
from tests.processes import fork_child
from tpr.captioning.plan import CaptionPlan
from tpr.captioning.shards import failures_path, marker_path, parts_path, staged
from tpr.captioning.verify import verify_plan
from tpr.captioning.worker import work_through
from tpr.cli import main
from tpr.locks import hold_folder

OFTEN_BAD = {"bad": 0.75, "batch": 3}


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return make_crops(tmp_path / "crops")


@pytest.fixture
def plan(tmp_path: Path, crops: Path) -> CaptionPlan:
    plan = make_plan(tmp_path / "plan", crops, engine=OFTEN_BAD, attempts=2)
    run_plan(plan)
    return plan


def retry(plan: CaptionPlan, engine: Counting | None = None) -> None:
    with hold_folder(plan.folder):
        work_through(plan, engine or Counting(plan.engine.options), plan.root, retry_failures=True)


def test_only_failures_are_asked_for_and_with_new_seeds(plan: CaptionPlan) -> None:
    before, failed = rows_of(plan), failures_of(plan)
    whole = [shard for shard in range(plan.shards) if not failures_path(plan, shard).read_bytes()]
    kept = [parts_path(plan, shard).stat().st_ino for shard in whole]
    engine = Counting(plan.engine.options)
    retry(plan, engine)
    wanted = {(row["file_path"], row["view"]) for row in failed}
    assert {(request.image, request.view) for request in engine.asked} == wanted
    assert min(request.attempt for request in engine.asked) == 2
    assert not {request.seed for request in engine.asked} & {row["seed"] for row in (*before, *failed)}
    after = rows_of(plan)
    assert [row for row in after if (row["file_path"], row["view"]) not in wanted] == before
    assert 0 < len(failures_of(plan)) < len(failed)
    assert {row["attempts"] for row in failures_of(plan)} == {4}
    assert [parts_path(plan, shard).stat().st_ino for shard in whole] == kept
    assert verify_plan(plan).captions == len(after)


def test_asking_until_nothing_fails(plan: CaptionPlan, capfd) -> None:
    for _ in range(20):
        assert main(["caption", "run", str(plan.folder), "--retry-failures"]) == 0
    assert "40 captions, 0 failed" in capfd.readouterr().out
    assert verify_plan(plan).captions == plan.requests
    engine = Counting(plan.engine.options)
    retry(plan, engine)
    assert not engine.asked


def test_an_image_that_was_mended_is_no_failure_any_more(tmp_path: Path, crops: Path) -> None:
    image = crops / "0001" / "00_0.jpg"
    content = image.read_bytes()
    image.write_bytes(b"no image")
    plan = make_plan(tmp_path / "plan", crops)
    run_plan(plan)
    assert {row["reason"] for row in failures_of(plan)} == {"unreadable image"}
    image.write_bytes(content)
    run_plan(plan)
    assert len(failures_of(plan)) == 2
    retry(plan)
    assert not failures_of(plan)
    assert verify_plan(plan).captions == plan.requests


@pytest.mark.slow
def test_kill_9_while_failures_are_asked_for_loses_and_doubles_nothing(
    tmp_path: Path, crops: Path, plan: CaptionPlan
) -> None:
    whole = make_plan(tmp_path / "whole", crops, engine=OFTEN_BAD, attempts=2)
    run_plan(whole)
    length = count_calls(lambda: retry(whole))
    draw = random.Random(3)
    accepted = {(row["file_path"], row["view"], row["caption"]) for row in rows_of(plan)}
    for _ in range(12):
        moment = draw.randrange(length // 40, length // 2)
        os.waitpid(fork_child(lambda moment=moment: count_calls(lambda: retry(plan), moment) and None), 0)
        run_plan(plan)
        assert verify_plan(plan).requests == plan.requests
        found = {(row["file_path"], row["view"], row["caption"]) for row in rows_of(plan)}
        assert accepted <= found
        accepted = found
    assert len(accepted) > len(rows_of(whole)) - 5


def test_a_shard_that_was_written_aside_takes_its_place_at_the_next_start(plan: CaptionPlan) -> None:
    shard = next(number for number in range(plan.shards) if failures_path(plan, number).read_bytes())
    marker = json.loads(marker_path(plan, shard).read_text())
    before = [path(plan, shard).read_bytes() for path in (parts_path, failures_path, marker_path)]
    retry(plan)
    after = [path(plan, shard).read_bytes() for path in (parts_path, failures_path, marker_path)]
    for path, old, new in zip((parts_path, failures_path, marker_path), before, after, strict=True):
        path(plan, shard).write_bytes(old)
        path(staged(plan), shard).write_bytes(new)
    parts_path(staged(plan), shard).replace(parts_path(plan, shard))  # killed after the first of three
    run_plan(plan)
    assert [path(plan, shard).read_bytes() for path in (parts_path, failures_path, marker_path)] == after
    assert json.loads(after[2])["captions"] > marker["captions"]
    assert verify_plan(plan).requests == plan.requests
