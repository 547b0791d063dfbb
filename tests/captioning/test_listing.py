"""Which images a folder holds, whatever their names."""

import json
import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.captioning.plans import failures_of, make_plan, rows_of, run_plan
from tpr.captioning.forms import write_ham_pedes, write_luperson_mllm
from tpr.captioning.listing import folder_source
from tpr.captioning.merge import Merge
from tpr.captioning.shards import marker_path, read_markers
from tpr.captioning.verify import verify_plan
from tpr.errors import DataError

NAMES = (
    "Screenshot 2024-05-01 at 10.12.13\u202fAM.jpg",
    "\u5199\u771f\u3000\u4e00.jpg",
    "\U0001f9cd.jpg",
    "two\nlines.jpg",
    "tab\tand\rreturn.jpg",
    "line\u2028separator\u0085.jpg",
    '"quoted" \\ and {braces} #1 %41.jpg',
    "e\u0301 and \u00e9.jpg",
    "\x01\x7f.jpg",
)


def fill(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (8, 16), "red").save(folder / name, "JPEG")
    return folder


def test_every_name_that_json_can_hold_is_captioned(tmp_path: Path) -> None:
    fill(tmp_path / "crops" / "0007", NAMES)
    plan = make_plan(tmp_path / "plan", tmp_path / "crops")
    run_plan(plan)
    wanted = sorted(f"0007/{name}" for name in NAMES)
    assert sorted({row["file_path"] for row in rows_of(plan)}) == wanted and not failures_of(plan)
    assert verify_plan(plan).captions == 2 * len(NAMES)
    merge = Merge(plans=[plan], out=tmp_path / "out").check()
    write_ham_pedes(merge)
    write_luperson_mllm(merge)
    assert sorted(json.loads((tmp_path / "out" / "ham_pedes.json").read_text())) == wanted
    assert sorted(json.loads((tmp_path / "out" / "Ts-qwen.json").read_text())) == sorted(NAMES)


def test_a_name_that_is_no_utf_8_fails_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crops = fill(tmp_path / "crops" / "0007", ("fine.jpg",))
    name = os.fsencode(crops) + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(name)).write_bytes((crops / "fine.jpg").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    with caplog.at_level(logging.WARNING):
        plan = make_plan(tmp_path / "plan", tmp_path / "crops")
    (line,) = caplog.messages
    assert "1 names are no UTF-8, the first is 0007/caf\\xe9.jpg; these images cannot be opened" in line
    run_plan(plan)
    assert {row["file_path"] for row in rows_of(plan)} == {"0007/fine.jpg"}
    assert {(row["file_path"], row["reason"]) for row in failures_of(plan)} == {
        ("0007/caf\\xe9.jpg", "unreadable image")
    }
    assert verify_plan(plan).requests == 4


def test_a_folder_whose_own_path_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match=r"caf\\xe9: the folder's path is no UTF-8, which a plan needs"):
        folder_source(folder, "none")


def test_leftovers_beside_markers_are_no_markers(tmp_path: Path) -> None:
    fill(tmp_path / "crops" / "1", ("a.jpg", "b.jpg"))
    plan = make_plan(tmp_path / "plan", tmp_path / "crops")
    run_plan(plan)
    marker = marker_path(plan, 0)
    for name in ("00000 (copy).json", "00000 2.json", "._00000.json"):
        (marker.parent / name).write_bytes(marker.read_bytes())
    assert len(read_markers(plan)) == plan.shards
