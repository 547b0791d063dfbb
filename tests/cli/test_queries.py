"""`tpr report compare`, `tpr report look` and `tpr evaluate --queries` as a person types them."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import TINY_CLIP
from tests.cli.screen import ROOT, Type
from tests.report.run_folders import write_run
from tpr.evaluation.query_table import read_queries
from tpr.evaluation.rows import Results

FILE = "queries.parquet"


@pytest.fixture
def folder(world: Path, tmp_path: Path, tiny_run: list[str], type_command: Type) -> Path:
    """A run that saw two batches of the drawn world and was measured on one set."""
    config, words = ROOT / "configs" / "drawn" / "pretrain.yaml", ["data.test=[cuhk_pedes]"]
    made = type_command("train", config, *tiny_run, TINY_CLIP, "report.ranking_queries=0", *words)
    assert made.code == 0, made.err
    return tmp_path / "runs" / "drawn-pretrain"


def test_a_run_keeps_its_queries_and_is_compared_and_looked_at(
    folder: Path, tmp_path: Path, world: Path, type_command: Type
) -> None:
    kept = read_queries(folder / FILE)
    assert [str(label) for label in kept] == ["cuhk_pedes, text to image"]
    itself = type_command("report", "compare", folder, folder / "best.pt")
    assert (itself.code, itself.err) == (0, "")
    lines = [line.split("|") for line in itself.out.splitlines() if "text to image" in line]
    cells = [[cell.strip() for cell in line[-4:-1]] for line in lines]
    assert cells == [["+0.00", "[+0.00, +0.00]", "0.0 %"]] * 4

    looked = type_command("report", "look", folder, "--worst", "2", "--markdown")
    assert (looked.code, looked.err) == (0, "")
    assert sum(line.startswith("| caption length |") for line in looked.out.splitlines()) == 4
    assert looked.out.splitlines()[-3] == "| :--- | :--- | ---: | ---: |", "two queries are listed"
    assert type_command("report", "look", folder, "data.root=nowhere").message.startswith(
        "tpr: data.test[0] 'cuhk_pedes': data.root='nowhere' is no folder"
    )
    assert type_command("report", "look", folder, "data.test=[rstpreid]").message == (
        f"tpr: data.test names nothing that {folder} was measured on; say data.test=[cuhk_pedes]"
    )

    # A run of an older version has no such file: the command that it is told writes it.
    (folder / FILE).rename(tmp_path / "before.parquet")
    told = type_command("report", "compare", folder, tmp_path / "before.parquet").message
    assert told == (
        f"tpr: {folder / FILE}: no such file; a run writes it at its end, and for one that has ended "
        f"`tpr evaluate {folder / 'best.pt'} --queries {folder / FILE}` does"
    )
    again = type_command("evaluate", folder / "best.pt", "--queries", folder / FILE)
    assert (again.code, again.err) == (0, "")
    ((label, table),) = read_queries(folder / FILE).items()
    assert table.asks_as(kept[label])
    assert table.results.first.tolist() == kept[label].results.first.tolist()


def test_the_file_of_queries_is_refused_before_anything_is_measured(folder: Path, type_command: Type) -> None:
    for path in (folder / "queries.json", folder / "no" / FILE):
        outcome = type_command("evaluate", folder / "best.pt", "--queries", path)
        assert outcome.message == f"tpr: --queries {path}: expected a file .parquet in a folder that exists"
        assert outcome.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "{a}"], "tpr report compare: expected two runs, got 1"),
        (["compare", "{a}", "{a}", "{a}"], "tpr report compare: expected two runs, got 3"),
        (["compare", "{a}", "nowhere"], "{a}/queries.parquet: no queries in it; measure a dataset"),
        (["compare", "nowhere", "{a}"], "nowhere: no such folder; expected a run folder, or a file in one"),
        (["compare", "{a}", "{a}", "--each"], "--each: only tpr report has it; leave it out here"),
        (["compare", "{a}", "{a}", "--curves", "x.png"], "--curves: only tpr report has it; leave it out"),
        (["{a}", "--worst", "3"], "--worst: only tpr report look has it; leave it out here"),
        (["look"], "tpr report look: expected a run; `tpr report --help` shows"),
        (["look", "{a}", "--worst", "0"], "argument --worst: expected int >= 1, got '0'"),
        (["look", "{b}"], "{b}/queries.parquet: not the queries of an evaluation ("),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(words: list[str], message: str, tmp_path: Path, type_command: Type) -> None:
    names = {"a": write_run(tmp_path / "a", Results()), "b": tmp_path / "b"}
    shutil.copytree(names["a"], names["b"])
    (names["b"] / FILE).write_text("{}")
    outcome = type_command("report", *(word.format(**names) for word in words))
    assert outcome.message.startswith(f"tpr: {message.format(**names)}")
    assert outcome.out == ""
