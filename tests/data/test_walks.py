"""What other programs leave in folders is never data, is counted, and links are followed once."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.small_infrared import write_sysu
from tests.data.small_sets import (
    list_rows,
    load,
    write_image,
    write_json,
    write_jsonl,
)
from tpr.captioning.listing import folder_source
from tpr.data.tables.walks import Leftovers, is_leftover, list_files, list_folders, walk_files
from tpr.errors import DataError

OTHERS = [
    "._1.jpg",
    ".DS_Store",
    ".ipynb_checkpoints",
    "@eaDir",
    "__MACOSX",
    "Thumbs.db",
    "thumbs.DB",
    ".x.jpg",
]


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_programs_leave_is_known_by_name(name: str) -> None:
    assert is_leftover(name)


@pytest.mark.parametrize("name", ["1.jpg", "a.DS_Store", "MACOSX", "thumbs.jpg", "_1.jpg", "\u202f.jpg"])
def test_other_names_are_data(name: str) -> None:
    assert not is_leftover(name)


def walk(root: Path, leftovers: Leftovers | None = None) -> list[str]:
    found = walk_files(root, (".jpg",), leftovers or Leftovers())
    return [path.relative_to(root).as_posix() for path in found]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_walk_passes_over_leftovers_at_every_depth_and_counts_them(tmp_path: Path) -> None:
    touch(tmp_path / "b/2.JPG", tmp_path / "a/1.jpg", tmp_path / "a/b.txt", tmp_path / "0.jpg")
    touch(tmp_path / "a/._1.jpg", tmp_path / "@eaDir/1.jpg", tmp_path / "b/__MACOSX/b/._2.jpg")
    leftovers = Leftovers()
    assert walk(tmp_path, leftovers) == ["0.jpg", "a/1.jpg", "b/2.JPG"]
    assert walk(tmp_path, leftovers) == ["0.jpg", "a/1.jpg", "b/2.JPG"], "twice counts once"
    assert leftovers.describe() == [
        f"3 files or folders of other programs were passed over, the first is {tmp_path}/@eaDir"
    ]
    assert Leftovers().describe() == []


def test_links_to_folders_are_followed_once_and_no_circle_is_walked(tmp_path: Path) -> None:
    root, store = tmp_path / "crops", tmp_path / "store"
    touch(root / "real/1.jpg", store / "2.jpg", store / "deep/3.jpg", root / ".hidden/4.jpg")
    for name, target in {
        "again": root / "real", "circle": root, "far": store, "farther": store / "deep",
        "shown": root / ".hidden", "up": tmp_path,
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    (store / "back").symlink_to(root)
    (root / "broken.jpg").symlink_to(tmp_path / "nowhere")
    leftovers = Leftovers()
    assert walk(root, leftovers) == ["broken.jpg", "far/2.jpg", "farther/3.jpg", "real/1.jpg", "shown/4.jpg"]
    assert leftovers.describe()[-1].startswith("6 links to folders that are read already were passed over")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    scan = os.scandir

    def refuse(folder: Path | str) -> Any:
        if Path(folder).name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    for look in (lambda: walk(tmp_path), lambda: list_files(tmp_path / "a", (".jpg",), Leftovers())):
        with pytest.raises(DataError, match="a: the folder cannot be read: Permission denied"):
            look()


def test_lists_of_files_and_folders_are_sorted_and_may_be_of_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "b.json", tmp_path / "A.JSON", tmp_path / "._a.json", tmp_path / "c.json/d.json")
    leftovers = Leftovers()
    assert list_files(tmp_path, (".json",), leftovers) == [tmp_path / "A.JSON", tmp_path / "b.json"]
    assert list_folders(tmp_path, leftovers) == [tmp_path / "c.json"]
    assert sum(leftovers.counts.values()) == 1
    assert list_files(tmp_path / "nowhere", (".json",), leftovers) == []


def test_a_folder_of_crops_becomes_a_plan_without_leftovers_and_says_how_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "crops/7/1.jpg", tmp_path / "crops/7/._1.jpg", tmp_path / "store/2.jpg")
    (tmp_path / "crops/8").symlink_to(tmp_path / "store")
    source = folder_source(tmp_path / "crops", "folder")
    with caplog.at_level("INFO"):
        found = [(entry.image, entry.identity) for entry in source.entries()]
    assert found == [("7/1.jpg", 7), ("8/2.jpg", 8)]
    assert "1 files or folders of other programs were passed over, the first is" in caplog.text


LONG = "a man in a black coat and blue jeans"


def write_ham(root: Path) -> Path:
    write_json(root / "HAM-PEDES/h.json", {"Part1/1/0.jpg": [LONG]})
    return root / "HAM-PEDES/._h.json"


def write_ham_shards(root: Path) -> Path:
    write_jsonl(root / "HAM-PEDES/parts/0.jsonl", [{"file_path": "Part1/1/0.jpg", "caption": LONG}])
    return root / "HAM-PEDES/parts/._0.jsonl"


def write_mals(root: Path) -> Path:
    write_json(root / "MALS/gene_attrs/g_4x_attrs.json", [{"image": "4x/1.jpg", "caption": "a man"}])
    return root / "MALS/gene_attrs/._g_4x_attrs.json"


@pytest.mark.parametrize(
    ("name", "write"), [("ham_pedes", write_ham), ("ham_pedes", write_ham_shards), ("mals", write_mals)]
)
def test_annotations_of_other_programs_are_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, write: Callable[[Path], Path]
) -> None:
    junk = write(tmp_path)
    junk.write_bytes(b"\x00\x05\x16\x07")
    with caplog.at_level("INFO"):
        assert len(load(tmp_path, name)) == 1
    assert (
        f"{name}: 1 files or folders of other programs were passed over, the first is {junk}" in caplog.text
    )


def test_a_folder_with_one_jsonl_file_and_its_shadow_has_one(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine/p.jsonl", [{"image": "1.jpg", "caption": "x"}])
    touch(tmp_path / "mine/._p.jsonl", tmp_path / "mine/.ipynb_checkpoints/p.jsonl")
    assert list_rows(load(tmp_path, "jsonl", path=Path("mine"))) == [("mine/1.jpg", 0, ["x"])]


def test_images_of_other_programs_are_no_images_of_sysu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = write_sysu(tmp_path, text=False)
    write_image(base / "cam1/0002/junk.jpg").rename(base / "cam1/0002/._0003.jpg")
    touch(base / "cam6/0030/Thumbs.db", base / "cam2/0004/@eaDir/0003.jpg/thumb.jpg")
    with caplog.at_level("INFO"):
        assert len(load(tmp_path, "sysu_mm01")) == 34
    assert "sysu_mm01: 3 files or folders of other programs were passed over" in caplog.text
