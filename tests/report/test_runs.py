import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.report.run_folders import make_experiment, make_results, write_run
from tpr.config.schema import OptimOptions, ReportOptions, RuntimeOptions
from tpr.errors import ConfigError, DataError
from tpr.report.runs import (
    Closing,
    Group,
    History,
    Run,
    describe_state,
    group_seeds,
    read_runs,
    tabulate_runs,
)

TEN = make_results(a=10)


def labels_of(groups: list[Group]) -> list[tuple[str, list[str]]]:
    return [(group.label, [run.label for run in group.runs]) for group in groups]


def test_a_folder_or_a_file_in_it_is_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "x", TEN, before=make_results(a=4), seed=7)
    (folder / "best.pt").write_bytes(b"")
    (run,) = read_runs([folder, folder / "best.pt", folder / "results.json", tmp_path / "." / "x"])
    assert (run.label, run.seed, run.epochs, run.has_tests) == ("x", 7, 60, True)
    assert run.closing is not None and run.closing.is_whole and run.cut_step is None
    assert [(row.model, row.measures["r1"]) for row in run.closing.results.rows] == [
        ("direct transfer", 4),
        ("fine-tuned", 10),
    ]
    monkeypatch.chdir(folder)
    assert read_runs([Path()])[0].label == "x"


def test_runs_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / place, TEN) for place in ("one/x", "two/x", "two/y")]
    assert [run.label for run in read_runs(paths)] == [str(paths[0]), str(paths[1]), "y"]


def spoil_nothing(folder: Path) -> Path:
    return folder / "nowhere"


def take_a_foreign_folder(folder: Path) -> Path:
    (folder / "foreign").mkdir()
    (folder / "foreign" / "config.yaml").write_text("seed: 1\n")
    return folder / "foreign"


def take_a_foreign_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("")
    return folder / "notes.txt"


def take_the_folder_above(folder: Path) -> Path:
    write_run(folder / "x", TEN)
    return folder


def take_what_is_no_text(folder: Path) -> Path:
    (folder / "config.yaml").write_bytes(b"\xff\xfe\xff")
    return folder


@pytest.mark.parametrize(
    ("prepare", "found", "advice"),
    [
        (spoil_nothing, "no such folder", "`tpr train` writes such a folder, with a config.yaml that begins"),
        (take_a_foreign_folder, "a folder of something else", "`tpr train` writes such a folder"),
        (take_a_foreign_file, "a file that lies in no run folder", "`tpr train` writes such a folder"),
        (take_the_folder_above, "a folder of something else", "name those inside, such as {folder}/x"),
        (take_what_is_no_text, "a folder of something else", "`tpr train` writes such a folder"),
    ],
)
def test_what_is_no_run_folder_is_one_clear_line(
    prepare: Callable[[Path], Path], found: str, advice: str, tmp_path: Path
) -> None:
    path = prepare(tmp_path)
    with pytest.raises(ConfigError) as error:
        read_runs([path])
    start = f"{path}: {found}; expected a run folder, or a file in one: "
    assert str(error.value).startswith(start + advice.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "results.json",
            "{",
            "results.json: not the results of a run \\(Expecting property name.*remove the",
        ),
        ("results.json", "{}", "results.json: not the results of a run \\(no 'results' in it\\); remove the"),
        ("results.json", "[1]", "results.json: not the results of a run"),
        (
            "journal.jsonl",
            '{"kind": "step", "epoch": 1}\n',
            "journal.jsonl:1: not a line of a journal, which names kind and step",
        ),
        (
            "journal.jsonl",
            '{"kind": "step", "step": 1, "epoch": 1}\n',
            "journal.jsonl: not the journal of a run \\(no 'los",
        ),
        ("journal.jsonl", "7\n", "journal.jsonl:1: not a line of a journal"),
        (
            "config.yaml",
            "# fingerprint: 0\nname: x\n",
            "config.yaml: not the options of a run \\(no 'seed' in it",
        ),
        ("config.yaml", "# fingerprint: 0\nseed: [\n", "config.yaml:3: not valid YAML"),
    ],
)
def test_a_damaged_file_is_one_clear_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "x", TEN)
    (folder / name).write_text(text)
    with pytest.raises((ConfigError, DataError), match=message):
        read_runs([folder])


@pytest.mark.parametrize(
    "damage",
    [
        {"measures": {"r1": "x"}},
        {"measures": {"r1": None}},
        {"measures": {"r1": math.nan}},
        {"measures": {"r2": 1.0}},
        {"measures": 7},
        {"intervals": {"r1": [9.0, 1.0]}},
        {"odd": 1},
    ],
    ids=str,
)
def test_a_damaged_row_is_one_clear_line(damage: dict[str, Any], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "x", TEN)
    content = json.loads((folder / "results.json").read_text())
    content["results"]["rows"][0] |= damage
    (folder / "results.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="results.json: not the results of a run"):
        read_runs([folder])


def test_the_journal_of_a_killed_run_is_read_up_to_the_kill(tmp_path: Path) -> None:
    found = make_results(a=30, b=20)
    folder = write_run(tmp_path / "x", losses={5: 2.5, 10: math.inf}, scores=[(2, 10, "val", found)])
    with (folder / "journal.jsonl").open("a") as file:
        file.write('{"kind": "ste')
    (run,) = read_runs([folder])
    assert run.history.losses == ((1, 5, 2.5), (2, 10, math.inf))
    assert run.history.scores == ((2, 10, "val", 25.0),)


def test_runs_that_differ_in_their_seed_alone_are_one_group(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / "x-seed1", TEN, seed=1),
        write_run(tmp_path / "other", TEN, seed=1, optim=OptimOptions(lr=1e-4)),
        write_run(tmp_path / "x-seed2", TEN, seed=2, runtime=RuntimeOptions(workers=9), name="y"),
        write_run(tmp_path / "x-seed3", TEN, seed=3, report=ReportOptions(tensorboard=False)),
    ]
    assert labels_of(group_seeds(read_runs(paths))) == [
        ("x (3 seeds)", ["x-seed1", "x-seed2", "x-seed3"]),
        ("other", ["other"]),
    ]


def test_runs_that_cannot_be_averaged_stand_alone(tmp_path: Path) -> None:
    cut = [(1, 2, "best", TEN)]
    paths = [
        write_run(tmp_path / "x-seed1", TEN, seed=1),
        write_run(tmp_path / "x-seed2", TEN, seed=2),
        write_run(tmp_path / "again", TEN, seed=2),
        write_run(tmp_path / "going-1", seed=3),
        write_run(tmp_path / "going-2", seed=4),
        write_run(tmp_path / "cut-1", TEN, seed=5, finished=False, scores=cut),
        write_run(tmp_path / "cut-2", TEN, seed=6, finished=False, scores=cut),
        write_run(tmp_path / "cut-3", TEN, seed=7, finished=False, scores=[(1, 3, "best", TEN)]),
    ]
    assert labels_of(group_seeds(read_runs(paths))) == [
        ("x (2 seeds)", ["x-seed1", "x-seed2"]),
        ("again", ["again"]),
        ("going-1", ["going-1"]),
        ("going-2", ["going-2"]),
        ("cut (2 seeds)", ["cut-1", "cut-2"]),
        ("cut-3", ["cut-3"]),
    ]


def test_splits_of_a_set_are_averaged_as_seeds_are(tmp_path: Path) -> None:
    paths = []
    for number in (1, 2, 3):
        folder = write_run(tmp_path / f"x-{number}", make_results(regdb=10 * number))
        tree = yaml.safe_load((folder / "config.yaml").read_text())
        for key in ("train", "test"):
            tree["data"][key] = [{"name": "regdb", "split": number}]
        first, *_ = (folder / "config.yaml").read_text().splitlines()
        (folder / "config.yaml").write_text(f"{first}\n{yaml.safe_dump(tree)}")
        paths.append(folder)
    groups = group_seeds(read_runs([*paths, write_run(tmp_path / "other", TEN)]))
    assert labels_of(groups) == [("x (3 splits)", ["x-1", "x-2", "x-3"]), ("other", ["other"])]
    assert "20.00 ± 10.00" in tabulate_runs(groups[:1], markdown=True)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["x-seed1", "x-seed2"], "x (2 seeds)"),
        (["x-seed1-2", "x-seed2-2"], "x-2 (2 seeds)"),
        (["x", "x-2"], "x (2 seeds)"),
        (["x-12", "x-13"], "x (2 seeds)"),
        (["runs/x", "old/x"], "runs/x (2 seeds)"),
        (["x-seed9"], "x-seed9"),
    ],
)
def test_a_group_is_called_what_its_runs_have_in_common(labels: list[str], expected: str) -> None:
    runs = [make_run(label, number) for number, label in enumerate(labels, 1)]
    assert [group.label for group in group_seeds(runs)] == [expected]


def make_run(label: str, seed: int, science: str = "") -> Run:
    return Run(label, seed, science, 60, True, History((), ()), Closing(TEN, 1, True))


def test_groups_with_the_same_name_are_told_apart() -> None:
    runs = [make_run("x-seed1", 1, "a"), make_run("x-seed2", 2, "a")]
    runs += [make_run("x-seed3", 3, "b"), make_run("x-seed4", 4, "b")]
    assert [group.label for group in group_seeds(runs)] == [
        "x-seed1, x-seed2 (2 seeds)",
        "x-seed3, x-seed4 (2 seeds)",
    ]


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"results": TEN}, ""),
        (
            {"results": TEN, "finished": False, "scores": [(1, 2, "best", TEN)]},
            "x: cut by runtime.max_steps, its numbers are those of step 2",
        ),
        ({}, "x: not finished, no step reported"),
        ({"losses": {5: 1.0, 6: 1.0}}, "x: not finished, in epoch 2 of 60, none evaluated"),
        (
            {"losses": {15: 1.0}, "scores": [(1, 5, "val", make_results(a=8)), (2, 10, "val", TEN)]},
            "x: not finished, last evaluated epoch 2 of 60 (val R@1 10.00)",
        ),
        (
            {"scores": [(2, 10, "test", TEN), (2, 10, "best", TEN)]},
            "x: not finished, last evaluated epoch 2 of 60 (test R@1 10.00)",
        ),
    ],
)
def test_the_state_of_a_run_is_told(options: dict[str, Any], state: str, tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "x", **options)])
    assert describe_state(run) == state


def test_a_run_without_test_sets_never_has_a_table(tmp_path: Path) -> None:
    data = replace(make_experiment().data, test=())
    (run,) = read_runs([write_run(tmp_path / "x", data=data, scores=[(60, 300, "val", TEN)])])
    assert describe_state(run) == "x: no test set to measure, last evaluated epoch 60 of 60 (val R@1 10.00)"


def test_single_runs_stand_below_their_mean_where_asked(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"x-seed{seed}", make_results(a=seed), seed=seed) for seed in (1, 4)]
    groups = group_seeds(read_runs([*paths, write_run(tmp_path / "going")]))
    lines = tabulate_runs(groups, each=True, markdown=True).splitlines()
    # Mean 2.5; sqrt((2.25 + 2.25) / 1) = 2.12.
    assert [line.split(" | ")[:2] for line in lines[2:6]] == [
        ["| x (2 seeds)", "2.50 ± 2.12"],
        ["| x-seed1", "1.00"],
        ["| x-seed4", "4.00"],
        ["| going", "-"],
    ]
    assert lines[-1] == "going: not finished, no step reported."
    assert "x-seed1" not in tabulate_runs(groups)
    assert "|   x-seed1   |" in tabulate_runs(groups, each=True)
