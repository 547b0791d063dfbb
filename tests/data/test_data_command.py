"""`tpr data check` and `tpr data pack` as they are typed."""

from pathlib import Path

import pytest

from tests.data.small_sets import cuhk_record, load, write_cuhk, write_image, write_jsonl
from tpr.cli import main


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines on standard output, standard error."""
    code = main(["data", *words])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_check_ends_with_a_table_and_code_0_when_counts_merely_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cuhk(tmp_path)
    code, lines, _ = run(capsys, "check", f"data.root={tmp_path}")
    assert code == 0
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert cells[0][-4:] == ["missing", "unreadable", "shared ids / images", "verdict"]
    assert cells[1] == [
        "cuhk_pedes", "train", "2 of 11,003", "3 of 34,054", "5 of 68,126", "0", "0", "", "counts differ",
    ]  # fmt: skip
    assert cells[3][-2:] == ["0 / 0", "counts differ"]


def test_check_names_the_first_findings_counts_the_rest_and_ends_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [cuhk_record("train", n, f"{n}.jpg", "x") for n in range(5)]
    write_cuhk(tmp_path, [*records, cuhk_record("test", 4, "t.jpg", "y")], images=False)
    write_image(tmp_path / "CUHK-PEDES/imgs/t.jpg").write_bytes(b"")
    code, lines, _ = run(capsys, "check", "--sets", "cuhk_pedes", f"data.root={tmp_path}")
    assert code == 2
    assert [line for line in lines if "missing: " in line] == [
        *(f"cuhk_pedes train: missing: CUHK-PEDES/imgs/{n}.jpg" for n in range(3)),
        "cuhk_pedes train: missing: and 2 more",
    ]
    assert "cuhk_pedes test: unreadable: CUHK-PEDES/imgs/t.jpg is empty (0 bytes)" in lines
    assert "cuhk_pedes test: identity also in train: 4" in lines
    assert next(line for line in lines if "| test " in line).split("|")[-3].strip() == "1 / 0"


def test_check_takes_sets_from_data_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cuhk(tmp_path)
    write_jsonl(tmp_path / "mine" / "p.jsonl", [{"image": "1.jpg", "caption": "x"}])
    write_image(tmp_path / "mine" / "1.jpg")
    sets = "data.train=[{name: jsonl, path: mine}]"
    code, lines, _ = run(capsys, "check", f"data.root={tmp_path}", sets)
    assert code == 0
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")] == ["dataset", "mine"]


def test_a_set_that_cannot_be_read_is_a_line_and_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cuhk(tmp_path).write_text("")
    code, lines, _ = run(capsys, "check", f"data.root={tmp_path}")
    assert code == 2
    assert f"cuhk_pedes: {tmp_path}/CUHK-PEDES/reid_raw.json: the file is empty; fetch it again" in lines
    assert any("cuhk_pedes" in line and "broken" in line for line in lines)


def test_packed_data_is_read_in_place_of_loose_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(
        tmp_path / "data/mine/p.jsonl", [{"image": f"{n}.jpg", "caption": f"c{n}"} for n in range(20)]
    )
    for n in range(20):
        write_image(tmp_path / "data/mine" / f"{n}.jpg", shade=n)
    words = ["pack", "jsonl", "--root", str(tmp_path / "data"), "--out", str(tmp_path / "fast")]
    code, lines, _ = run(capsys, *words, "--options", "path=mine", "images=7")
    assert code == 0
    folder = tmp_path / "fast/mine/packed"
    assert lines[-1] == (
        f"{folder}: 7 images in 1 Arrow files, 0.00 GiB; `data.root={tmp_path / 'fast'}` reads them"
    )
    assert len(load(tmp_path / "fast", "jsonl", path=Path("mine"), images=7)) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["check", "optim.lr=1"],
            "tpr: optim.lr: without a CONFIG only data.* can be given, such as data.root=/data\n",
        ),
        (["check", "--sets", "nobody"], "tpr: --sets: 'nobody' is not known; known: cuhk_pedes, "),
        (["check", "data.rot=x"], "tpr: data.rot: no such option"),
        (["pack", "nobody"], "tpr: SET: 'nobody' is not known; known: cuhk_pedes, "),
        (["pack", "mals", "--options", "file=x"], "tpr: mals.file: no such option"),
        (["pack", "mals", "--options", "files"], "tpr: command line: expected key=value, got 'files'\n"),
        (["pack", "mals", "--options", "files=["], "tpr: command line: files=[: not valid YAML: expected"),
        *(
            (["pack", "mals", f"--shard-gigabytes={size}"], f"tpr: argument --shard-gigabytes: {problem}")
            for size, problem in [
                ("0", "expected float in [0.001, 1000], got '0'"),
                ("nan", "expected float, got 'nan'"),
                ("-inf", "expected float, got '-inf'"),
                ("1e400", "expected float, got '1e400'"),
                ("1e9", "expected float in [0.001, 1000], got '1e9'"),
            ]
        ),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, _, err = run(capsys, *words)
    assert code == 2
    assert err.startswith(message)
    assert err.count("\n") == 1
