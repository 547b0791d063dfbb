"""`tpr report` and `tpr train --seeds` as a person types them."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import TINY_CLIP
from tests.cli.screen import ROOT, Type, run_script
from tests.report.run_folders import make_results, write_run
from tpr.config.schema import OptimOptions

CONFIG = ROOT / "configs" / "drawn" / "pretrain.yaml"
NAME = "drawn-pretrain"
SETS = ("cuhk_pedes", "icfg_pedes", "rstpreid")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two seeds of a run that picked its epoch on the test sets, a fine-tuned one, and one under way."""
    for seed, r1 in ((1, 10.0), (2, 14.0)):
        write_run(tmp_path / f"x-seed{seed}", make_results("odd", a=r1, b=r1 + 6), seed=seed)
    optim = OptimOptions(lr=1e-4)
    write_run(tmp_path / "tuned", make_results(a=30), before=make_results(a=12), optim=optim)
    write_run(tmp_path / "going", losses={5: 4.0}, scores=[(1, 5, "val", make_results(a=3))])
    return tmp_path


def test_one_table_over_all_runs(runs: Path, type_command: Type) -> None:
    words = [runs / "x-seed1", runs / "x-seed2" / "results.json", runs / "tuned", runs / "going"]
    outcome = type_command("report", *words, "--markdown")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "| run | model | a R@1 | a R@5 | a R@10 | a mAP | b R@1 | b R@5 | b R@10 | b mAP "
        "| mean R@1 | mean R@5 | mean R@10 | mean mAP |",
        "| :--- | :--- |" + 12 * " ---: |",
        # 10 and 14 are 12 ± sqrt(8), 5 and 7 are 6 ± sqrt(2).
        "| x (2 seeds) |  | 12.00 ± 2.83 | 13.00 ± 2.83 | 14.00 ± 2.83 | 6.00 ± 1.41 "
        "| 18.00 ± 2.83 | 19.00 ± 2.83 | 20.00 ± 2.83 | 9.00 ± 1.41 "
        "| 15.00 ± 2.83 | 16.00 ± 2.83 | 17.00 ± 2.83 | 7.50 ± 1.41 |",
        "| tuned | direct transfer | 12.00 | 13.00 | 14.00 | 6.00 |" + 8 * " - |",
        "| tuned | fine-tuned | 30.00 | 31.00 | 32.00 | 15.00 |" + 8 * " - |",
        "| going |  |" + 12 * " - |",
        "",
        "x (2 seeds): odd.",
        "",
        "going: not finished, last evaluated epoch 1 of 60 (val R@1 3.00).",
    ]


def test_the_text_table_has_lines_below_it_and_single_runs_where_asked(
    runs: Path, type_command: Type
) -> None:
    outcome = type_command("report", "--each", runs / "x-seed1", runs / "x-seed2", runs / "going")
    lines = outcome.out.splitlines()
    assert [line.split("|")[1:3] for line in lines[4:9]] == [
        [" x (2 seeds) ", "  12.00 "],
        ["             ", " ± 2.83 "],
        ["   x-seed1   ", "  10.00 "],
        ["   x-seed2   ", "  14.00 "],
        [" going       ", "      - "],
    ]
    assert lines[-2:] == ["(odd)", "(going: not finished, last evaluated epoch 1 of 60 (val R@1 3.00))"]


def test_curves_are_drawn_beside_the_table(runs: Path, type_command: Type) -> None:
    curves = runs / "curves.png"
    outcome = type_command("report", runs / "going", "--curves", curves)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == f"curves:      {curves}"
    with Image.open(curves) as image:
        assert image.width > 1000
    markdown = type_command("report", runs / "going", "--markdown", "--curves", curves).out
    assert markdown.splitlines()[-2:] == ["", f"![learning curves]({curves})"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "tpr: {runs}/nowhere: no such folder; expected a run folder, or a file in one: "),
        (
            ["."],
            "tpr: {runs}: a folder of something else; expected a run folder, or a file in one: name those",
        ),
        (
            ["going", "--curves", "no/x.png"],
            "tpr: --curves {runs}/no/x.png: the image cannot be written (No",
        ),
        (["going", "--curves", "x.pdf"], "tpr: --curves {runs}/x.pdf: the image is a PNG file; expected a"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_prints_no_table(
    words: list[str], message: str, runs: Path, type_command: Type
) -> None:
    outcome = type_command("report", *(word if word.startswith("--") else runs / word for word in words))
    assert outcome.message.startswith(message.format(runs=runs))
    assert outcome.out == ""


def test_a_report_of_nothing_is_one_line(type_command: Type) -> None:
    assert type_command("report").message == (
        "tpr: the following arguments are required: RUN; `tpr report --help` shows what is expected"
    )


# Seeds.


@pytest.fixture
def train(world: Path, tmp_path: Path, type_command: Type) -> Type:
    """`tpr train configs/drawn/pretrain.yaml ...` with a tiny model for one epoch on the tiny world."""

    def run(*words: object) -> Any:
        return type_command("train", CONFIG, *tiny_epoch(world, tmp_path / "runs"), *words)

    return run


def tiny_epoch(world: Path, output: Path) -> list[str]:
    return [
        TINY_CLIP, f"data.root={world}", "data.image_size=[64,32]", "data.batch=32", "schedule.epochs=1",
        "schedule.warmup_epochs=0", "runtime.workers=0", "runtime.device=cpu", "report.tensorboard=false",
        "report.ranking_queries=0", f"runtime.output={output}",
    ]  # fmt: skip


def read_rows(folder: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((folder / "results.json").read_text())["results"]["rows"]
    return {row["dataset"]: row for row in rows}


def read_cells(out: str, label: str) -> list[str]:
    """The numbers of the closing table's row of a label, mean ± deviation, without the means over sets."""
    lines = out.splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith(f"| {label} "))
    above, below = ([cell.strip() for cell in line.split("|")[2:-1]] for line in lines[start : start + 2])
    return [f"{mean} {deviation}" for mean, deviation in zip(above, below, strict=True)]


@pytest.mark.slow
def test_a_run_per_seed_and_a_table_of_their_mean(train: Type, tmp_path: Path) -> None:
    outcome = train("--seeds", "1,2")
    assert (outcome.code, outcome.err) == (0, "")
    folders = [tmp_path / "runs" / f"{NAME}-seed{seed}" for seed in (1, 2)]
    assert sorted((tmp_path / "runs").iterdir()) == folders
    found = [read_rows(folder) for folder in folders]
    expected = []
    for name in SETS:
        for measure in ("r1", "r5", "r10", "map"):
            one, two = (rows[name]["measures"][measure] for rows in found)
            deviation = abs(one - two) / 2**0.5
            expected.append(f"{(one + two) / 2:.2f} ± {deviation:.2f}")
    assert len(set(expected)) > 4, "numbers that differ"
    cells = read_cells(outcome.out, f"{NAME} (2 seeds)")
    assert cells[:12] == expected
    means = [statistics.fmean(rows[name]["measures"]["r1"] for name in SETS) for rows in found]
    assert cells[12] == f"{statistics.fmean(means):.2f} ± {statistics.stdev(means):.2f}"
    for folder, seed in zip(folders, (1, 2), strict=True):
        assert f"seed: {seed}\n" in (folder / "config.yaml").read_text()
        # The log of a run holds its own closing lines and nothing of the others.
        log = (folder / "log.txt").read_text()
        assert log.count("run folder:") == 1 and f"run folder:  {folder}" in log
    *_, last = outcome.out.splitlines()
    assert last.endswith(f"tpr report --each --curves curves.png {folders[0]} {folders[1]}")

    alone = train("seed=2", "name=alone")
    assert alone.code == 0
    assert read_rows(tmp_path / "runs" / "alone") == found[1], "the run before leaves no trace"


@pytest.mark.slow
def test_a_finished_seed_is_not_run_again_and_an_interrupted_one_goes_on(train: Type, tmp_path: Path) -> None:
    first = train("--seeds", "1")
    assert first.code == 0
    assert f"| {NAME}-seed1 |" in first.out
    checkpoint = tmp_path / "runs" / f"{NAME}-seed1" / "last.pt"
    written = checkpoint.stat().st_mtime_ns
    assert train("--seeds", "2", "runtime.max_steps=1").code == 0
    both = train("--seeds", "1,2")
    assert both.code == 0
    assert checkpoint.stat().st_mtime_ns == written
    resumed = [line for line in both.out.splitlines() if line.startswith("resumed ")]
    assert resumed == [f"resumed {tmp_path}/runs/{NAME}-seed2/last.pt at epoch 1, step 1"]
    assert both.out.count("parameters\n") == 1, "one run was built"
    assert "max_steps" not in both.out.rpartition("seeds)")[2]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [f"{NAME}-seed1", f"{NAME}-seed2"]
    # What is finished is not written to: its closing lines stand in no other run's log.
    assert (
        f"run folder:  {checkpoint.parent}"
        not in (tmp_path / "runs" / f"{NAME}-seed2" / "log.txt").read_text()
    )


def test_a_run_that_was_cut_says_so_below_the_table(train: Type) -> None:
    outcome = train("--seeds", "3,4", "runtime.max_steps=1")
    lines = outcome.out.splitlines()
    assert lines[-3:-1] == [
        f"({NAME}-seed{seed}: cut by runtime.max_steps, its numbers are those of step 1)" for seed in (3, 4)
    ]
    assert f"| {NAME} (2 seeds) |" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", ""], "tpr: --seeds : expected whole numbers with commas, such as 1,2,3; got nothing"),
        (
            ["--seeds", "1,,2"],
            "tpr: --seeds 1,,2: expected whole numbers with commas, such as 1,2,3; got nothing",
        ),
        (
            ["--seeds", "1,two"],
            "tpr: --seeds 1,two: expected whole numbers with commas, such as 1,2,3; got 'two'",
        ),
        (
            ["--seeds", "1.5"],
            "tpr: --seeds 1.5: expected whole numbers with commas, such as 1,2,3; got '1.5'",
        ),
        (["--seeds=-1"], "tpr: --seeds -1: expected whole numbers with commas, such as 1,2,3; got '-1'"),
        (["--seeds", "9" * 5000], "tpr: --seeds 999"),
        (["--seeds", "9" * 19], f"tpr: --seeds {'9' * 19}: expected int in [0, 2^63), got '{'9' * 19}'"),
        (["--seeds", "1,2,01"], "tpr: --seeds 1,2,01: 1 is repeated; name each seed once"),
        (
            ["--seeds", "1,2", "seed=5"],
            "tpr: --seeds 1,2 and seed=: both set the seed; leave one of them out",
        ),
        (
            ["seed = 5", "--seeds", "1,2"],
            "tpr: --seeds 1,2 and seed=: both set the seed; leave one of them out",
        ),
        (["--seeds"], "tpr: argument --seeds: expected one argument; `tpr train --help` shows"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_bad_list_of_seeds_is_one_line(words: list[str], message: str, train: Type, tmp_path: Path) -> None:
    outcome = train(*words)
    assert outcome.message.startswith(message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.ddp
@pytest.mark.slow
def test_run_sh_runs_seeds_on_two_processes_with_the_table_of_one(
    train: Type, world: Path, tmp_path: Path
) -> None:
    words = [CONFIG, *tiny_epoch(world, tmp_path / "two"), "--seeds", "1,2"]
    together = run_script("run.sh", *words, NPROC="2")
    assert (together.code, together.err) == (0, "")
    alone = train("--seeds", "1,2")
    label = f"{NAME} (2 seeds)"
    assert read_cells(together.out, label) == read_cells(alone.out, label)
    assert together.out.count(f"| {label} |") == 1, "one process speaks"
    again = run_script("run.sh", *words, NPROC="1")
    assert (again.code, again.err) == (0, "")
    assert "parameters" not in again.out, "nothing was built"
    assert read_cells(again.out, label) == read_cells(alone.out, label)
