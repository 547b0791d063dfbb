"""`tpr caption` as a person types it."""

import errno
import os
import re
from pathlib import Path

import pytest

from tests.captioning.plans import make_crops, make_plan, run_plan
from tpr.captioning import plan as plans
from tpr.captioning.engines import ENGINES
from tpr.captioning.progress import measure_progress
from tpr.cli import main


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_crops(tmp_path_factory.mktemp("world") / "crops")


def type_words(*words: object) -> int:
    return main(["caption", *map(str, words)])


def test_from_a_folder_of_crops_to_a_corpus(tmp_path: Path, crops: Path, capfd, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan, out = tmp_path / "plans" / "first", tmp_path / "HAM-PEDES"
    assert type_words("plan", crops, plan, "--captions", "static=2", "dynamic=1", "--shard-images", 6) == 0
    assert "20 images, 60 captions in 4 shards, engine echo" in capfd.readouterr().out
    assert type_words("run", plan, "--engine-options", "batch=16") == 0
    assert "60 captions, 0 failed" in capfd.readouterr().out
    image = tmp_path / "statistics.png"
    assert type_words("status", plan, "--statistics", "--plot", image) == 0
    shown = capfd.readouterr().out
    assert re.search(r"4 of 4 \|\s+60 of 60 \|\s+60 \|\s+0 ", shown)
    assert re.search(r"static \|\s+40 .* 100% ", shown)
    assert image.read_bytes()[:4] == b"\x89PNG"
    assert type_words("merge", plan, "--form", "ham_pedes", "--out", out) == 0
    assert "ham_pedes.json: 60 captions" in capfd.readouterr().out
    assert type_words("verify", plan) == 0
    assert "every one of 60 requests is answered once" in capfd.readouterr().out


def test_a_data_set_can_be_planned(tmp_path: Path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_crops(tmp_path / "data" / "mine", people=2, each=2)
    lines = [
        f'{{"image": "0001/00_{number % 2}.jpg", "identity": 7, "captions": ["A man."], "split": "train"}}'
        for number in range(4)
    ]
    (tmp_path / "data" / "mine" / "people.jsonl").write_text("\n".join(lines))
    words = ("--root", tmp_path / "data", "--options", "path=mine/people.jsonl", "--images", 1)
    assert type_words("plan", "jsonl", tmp_path / "plan", *words) == 0
    assert "1 images, 2 captions" in capfd.readouterr().out
    assert type_words("run", tmp_path / "plan") == 0
    assert "2 captions, 0 failed" in capfd.readouterr().out


@pytest.mark.parametrize("failing", ["hash_file", "write_whole"])
def test_a_plan_on_a_full_disk_is_one_line_and_leaves_nothing(
    failing: str, tmp_path: Path, crops: Path, capfd, monkeypatch
) -> None:
    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(plans, failing, fill_disk)
    folder = tmp_path / "plans" / "first"
    assert type_words("plan", crops, folder) == 2
    line = f"tpr: {folder}: No space left on device; free the disk or unlock the folder, then start again\n"
    assert capfd.readouterr().err == line
    assert list(tmp_path.iterdir()) == []


def test_a_refused_plan_leaves_nothing(tmp_path: Path, capfd) -> None:
    (tmp_path / "empty").mkdir()
    assert type_words("plan", tmp_path / "empty", tmp_path / "plan") == 2
    assert capfd.readouterr().err == f"tpr: {tmp_path / 'empty'}: holds no image\n"
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_status_tells_rate_reasons_and_time_left(tmp_path: Path, crops: Path, capfd) -> None:
    plan = make_plan(tmp_path / "plan", crops, engine={"bad": 0.7}, attempts=1)
    run_plan(plan)
    next(iter(sorted((plan.folder / "done").iterdir()))).unlink()
    progress = measure_progress(plan)
    assert progress.shards == plan.shards - 1 and progress.answered == plan.requests - 6
    assert progress.rate and progress.seconds_left == pytest.approx(6 / progress.rate)
    assert type_words("status", plan.folder) == 0
    shown = capfd.readouterr().out
    assert {"refusal", "truncated"} <= set(progress.reasons)
    assert f"failed: refusal: {progress.reasons['refusal']}" in shown


BAD_INPUT = [
    (["plan", "nowhere", "{tmp}/p"], "'nowhere' is neither a folder nor a dataset"),
    (["plan", "{tmp}", "{tmp}/p"], "holds no image"),
    (["plan", "{crops}", "{tmp}/p", "--engine", "orakel"], "'orakel' is not known; known: echo"),
    (["plan", "{crops}", "{tmp}/p", "--engine-options", "bath=3"], "no such option"),
    (["plan", "{crops}", "{tmp}/p", "--captions", "funny=1"], "'funny' is no kind; known: static, dynamic"),
    (
        ["plan", "{crops}", "{tmp}/p", "--captions", "static=0"],
        "static: expected int in [1, 100], got 0",
    ),
    (
        ["plan", "{crops}", "{tmp}/p", "--filters", "min_words=9", "max_words=3"],
        "words=3: expected min <= max",
    ),
    (["plan", "{crops}", "{tmp}/p", "--attempts", "0"], "attempts: expected int in [1, 100], got 0"),
    (["plan", "{crops}", "{tmp}/p", "--texts", "{tmp}"], "instructions.yaml: cannot be read"),
    (["plan", "{crops}", "{plan}"], "holds a plan already"),
    (["run", "{tmp}"], "holds no plan.json"),
    (["run", "{plan}", "--root", "{tmp}/gone"], "the plan's images are not there"),
    (["run", "{plan}", "--engine-options", "model=other"], "the plan's model stays"),
    (["status", "{plan}", "--statistics"], "no caption is finished yet"),
    (["verify", "{plan}"], "7 of 7 shards are not done"),
    (["merge", "{plan}", "--form", "ham_pedes", "--out", "{tmp}/o"], "7 of 7 shards are not done"),
    (
        ["merge", "{plan}", "--form", "ham_pedes", "--out", "{tmp}/o", "--labels", "a/b"],
        "part of a file name",
    ),
    (["merge", "{plan}", "--form", "tvi_lfm", "--out", "{tmp}/o", "--partial"], "--labels needs one name"),
]


@pytest.mark.parametrize(("words", "message"), BAD_INPUT, ids=lambda part: str(part)[:60])
def test_bad_input_is_one_line(tmp_path: Path, crops: Path, capfd, words: list[str], message: str) -> None:
    make_plan(tmp_path / "plan", crops)
    places = {"tmp": tmp_path / "empty", "crops": crops, "plan": tmp_path / "plan"}
    places["tmp"].mkdir()
    assert type_words(*(word.format(**places) for word in words)) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_can_be_planned(tmp_path: Path, crops: Path, capfd, name: str) -> None:
    options = [] if name == "echo" else ["--engine-options", "model=some/model"]
    assert type_words("plan", crops, tmp_path / "plan", "--engine", name, *options) == 0
    assert f"engine {name}" in capfd.readouterr().out
