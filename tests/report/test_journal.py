import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.report.run_folders import make_crossed_row, make_row
from tpr.errors import DataError, TrainingError
from tpr.evaluation.rows import Results
from tpr.report.journal import Journal, read_journal

RESULTS = Results(tuple(make_row(name, 10.0, direction="text_to_image") for name in ("a", "b")))


@pytest.fixture(autouse=True)
def starts_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard reads files by the second in their names, which no two starts of a run share."""
    seconds = itertools.count(int(time.time()))
    monkeypatch.setattr(time, "time", lambda: float(next(seconds)))


def write_steps(journal: Journal, steps: range) -> None:
    for step in steps:
        journal.step(step, 1, {"loss": 1.0 / step}, {"accuracy": 0.5}, lr=0.1, pairs_per_second=9.0)
        if step % 4 == 0:
            journal.evaluation(step, 1, "val", RESULTS)
            journal.event("checkpoint", path=Path("last.pt"))


def without_time(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in event.items() if name != "time"} for event in events]


def test_visible_infrared_rows_have_a_curve_per_kind_of_query(tmp_path: Path) -> None:
    rows = (
        make_crossed_row("sysu_mm01", 37.0, search="all", query="infrared"),
        make_crossed_row(
            "sysu_mm01",
            37.0,
            search="all",
            query="fused (ORACLE)",
            facts={"queries": 10, "unmatched": 0, "trials": 10},
            deviations={"r1": 1.0},
            notes=("beware",),
        ),
    )
    journal = Journal(tmp_path)
    journal.evaluation(4, 1, "test", Results(rows))
    journal.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    for kind in ("infrared", "fused_ORACLE"):
        (point,) = board.Scalars(f"test/sysu_mm01_all/infrared_to_visible/{kind}/r20")
        assert (point.step, point.value) == (4, 40.0)
    (event,) = read_journal(tmp_path / "journal.jsonl")
    assert Results.from_json(event) == Results(rows)


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tensorboard=False)
    write_steps(journal, range(4, 5))
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["step", "evaluation", "checkpoint"]
    assert lines[0]["losses"] == {"loss": 0.25} and lines[0]["lr"] == 0.1
    assert lines[1]["rows"][0]["measures"]["r1"] == 10.0 and lines[1]["split"] == "val"
    assert lines[2]["path"] == "last.pt" and lines[2]["step"] == 4
    journal.close()
    journal.close()


@pytest.mark.parametrize("checkpoint", [2, 4, 5])
def test_a_resumed_journal_equals_an_uninterrupted_one(tmp_path: Path, checkpoint: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    journal = Journal(whole, tensorboard=False)
    write_steps(journal, range(1, 10))
    journal.close()
    journal = Journal(killed, tensorboard=False)
    write_steps(journal, range(1, 8))
    journal.close()
    with (killed / "journal.jsonl").open("a") as file:
        file.write('{"kind": "step", "ste')  # the kill hit in the middle of a line
    journal = Journal(killed, tensorboard=False)
    journal.resume(checkpoint)
    # The run may repeat what it did at the very step of the checkpoint.
    write_steps(journal, range(checkpoint, 10))
    journal.close()
    assert without_time(read_journal(killed / "journal.jsonl")) == without_time(
        read_journal(whole / "journal.jsonl")
    )


def test_numbers_that_json_does_not_know_are_words(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tensorboard=False)
    journal.step(1, 1, {"loss": float("nan"), "sdm": float("inf")}, {}, lr=0.1, pairs_per_second=1.0)
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl")[0]["losses"] == {"loss": "nan", "sdm": "inf"}


def read_board(folder: Path) -> EventAccumulator:
    board = EventAccumulator(str(folder))
    board.Reload()
    return board


def test_curves_and_images_reach_tensorboard_and_resume_purges(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    write_steps(journal, range(1, 9))
    journal.image("ranking/a", np.zeros((4, 5, 3), dtype=np.uint8), 8)
    journal.flush()
    journal.close()
    board = read_board(tmp_path)
    assert [event.step for event in board.Scalars("loss/loss")] == list(range(1, 9))
    assert board.Scalars("val/mean/text_to_image/r1")[0].value == 10.0
    assert board.Images("ranking/a")[0].width == 5
    assert {"lr", "pairs_per_second", "train/accuracy"} <= set(board.Tags()["scalars"])
    journal = Journal(tmp_path)
    journal.resume(5)
    write_steps(journal, range(6, 8))
    journal.close()
    assert [event.step for event in read_board(tmp_path).Scalars("loss/loss")] == [1, 2, 3, 4, 5, 6, 7]


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "journal.jsonl").symlink_to("/dev/full")
    journal = Journal(tmp_path, tensorboard=False)
    with pytest.raises(TrainingError, match="the journal cannot be written .No space left on device.; free"):
        journal.event("note", text="x")
    journal.close()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"journal.jsonl: the journal cannot be written \("):
        Journal(tmp_path / "file" / "run", tensorboard=False)


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpr.distributed.is_main_rank", lambda: False)
    journal = Journal(tmp_path / "run")
    write_steps(journal, range(1, 5))
    journal.image("x", np.zeros((2, 2, 3), dtype=np.uint8), 1)
    journal.resume(2)
    journal.close()
    assert not (tmp_path / "run").exists()


def test_a_start_from_nothing_begins_journal_and_curves_anew(tmp_path: Path) -> None:
    for last in (9, 6):
        journal = Journal(tmp_path)
        journal.resume(0)
        write_steps(journal, range(1, last))
        journal.close()
    steps = [event["step"] for event in read_journal(tmp_path / "journal.jsonl") if event["kind"] == "step"]
    assert steps == [1, 2, 3, 4, 5]
    assert [event.step for event in read_board(tmp_path).Scalars("loss/loss")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "line",
    [b"{", b"7", b"[]", b'{"kind": "step"}', b'{"kind": "step", "step": "1"}', b"\xff", b"[" * 100_000],
    ids=range(7),
)
def test_a_broken_line_is_named_unless_a_kill_left_it_unfinished(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = b'{"kind": "step", "step": 1}\n'
    path.write_bytes(whole + line)
    assert [event["step"] for event in read_journal(path)] == [1]
    path.write_bytes(whole + line + b"\n" + whole)
    journal = Journal(tmp_path, tensorboard=False)
    with pytest.raises(DataError, match=r"journal\.jsonl:2: not a line of a journal.*or remove it"):
        journal.resume(1)
    journal.close()
    assert path.read_bytes() == whole + line + b"\n" + whole
