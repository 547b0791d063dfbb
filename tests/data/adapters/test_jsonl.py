from pathlib import Path
from typing import Any

import pytest

from tests.data.small_sets import choose, list_rows, load, write_jsonl
from tpr.data.adapters.jsonl import Jsonl
from tpr.errors import ConfigError, DataError

LINES: list[dict[str, Any]] = [
    {"image": "a/1.jpg", "identity": 5, "captions": ["one", "two"], "split": "train", "camera": 2},
    {"image": "2.jpg", "identity": 5, "caption": "three"},
    {"image": "3.jpg", "identity": 9, "split": "test"},
    {"image": "4.jpg", "identity": 9, "captions": ["four"], "split": "test"},
]


def test_a_users_own_lines_become_a_corpus(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine" / "people.jsonl", LINES)
    train = load(tmp_path, "jsonl", path=Path("mine"))
    assert list_rows(train) == [("mine/a/1.jpg", 0, ["one", "two"]), ("mine/2.jpg", 0, ["three"])]
    assert train.table.column("camera").to_pylist() == [2, -1]
    assert list_rows(load(tmp_path, "jsonl", "test", path=Path("mine/people.jsonl"))) == [
        ("mine/3.jpg", 9, []),
        ("mine/4.jpg", 9, ["four"]),
    ]


def test_the_name_is_the_folder_or_the_label(tmp_path: Path) -> None:
    for path, name in (("mine", "mine"), ("mine/people.jsonl", "mine"), ("people.jsonl", "people")):
        assert Jsonl(choose("jsonl", path=Path(path)).options).label == name
    write_jsonl(tmp_path / "mine" / "people.jsonl", LINES)
    assert load(tmp_path, "jsonl", path=Path("mine"), label="shop").name == "shop"


def test_identities_may_be_strings_and_agree_between_splits(tmp_path: Path) -> None:
    lines = [
        {"image": f"{n}.jpg", "identity": name, "split": split}
        for n, (name, split) in enumerate([("anna", "train"), ("bert", "test"), ("anna", "test")])
    ]
    write_jsonl(tmp_path / "mine" / "p.jsonl", lines)
    assert load(tmp_path, "jsonl", "test", path=Path("mine")).identity.tolist() == [1, 0]


def test_without_identities_each_picture_is_its_own_class(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "mine" / "p.jsonl",
        [{"image": "1.jpg", "caption": "x"}, {"image": "2.jpg", "caption": "y"}],
    )
    corpus = load(tmp_path, "jsonl", path=Path("mine"))
    assert not corpus.has_identities
    assert corpus.identity.tolist() == [0, 1]


def test_a_line_separator_inside_a_caption_is_no_new_line(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "p.jsonl").write_text(
        '{"image": "1.jpg", "caption": "a\u2028b"}\n\n', encoding="utf-8"
    )
    assert load(tmp_path, "jsonl", path=Path("mine")).captions(0) == ["a\u2028b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"identity": 1}, "line 2: found the keys identity; expected image"),
        (
            {"image": "x", "identity": "b"},
            "line 2: 'identity' must be a number in every line, a string in every",
        ),
        (
            {"image": "x"},
            "line 2: 'identity' must be a number in every line, a string in every line, or in none",
        ),
        (
            {"image": "x", "identity": 1, "split": "dev"},
            "line 2: 'split' must be one of train, val, test, found 'dev'",
        ),
        (
            {"image": "x", "identity": 1, "camera": 40_000},
            "line 2: 'camera' must lie in 0..32767, found 40000",
        ),
        (
            {"image": "../x", "identity": 1},
            "line 2: the picture path '../x' is empty or leaves the data set's folder",
        ),
        (
            {"image": "x", "identity": 1, "captions": 3},
            "line 2: 'captions' must be a list of strings, found int 3",
        ),
        ({"image": "x", "identity": 1.5}, "line 2: 'identity' must be"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    write_jsonl(tmp_path / "mine" / "p.jsonl", [{"image": "1.jpg", "identity": 1}, line])
    with pytest.raises(DataError) as caught:
        load(tmp_path, "jsonl", path=Path("mine"))
    assert message in str(caught.value)


def test_a_line_that_is_not_json_is_named_by_its_number(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine" / "p.jsonl", LINES)
    path.write_text(path.read_text() + "{broken\n")
    with pytest.raises(DataError, match=r"p.jsonl: line 5: not JSON \(Expecting property name"):
        load(tmp_path, "jsonl", path=Path("mine"))


def test_missing_and_several_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(
        DataError, match=r"mine/\*.jsonl not found. Expected: one \*.jsonl file under data.root"
    ):
        load(tmp_path, "jsonl", path=Path("mine"))
    with pytest.raises(DataError, match=r"nowhere not found"):
        load(tmp_path, "jsonl", path=Path("nowhere"))
    for name in ("a", "b"):
        write_jsonl(tmp_path / "mine" / f"{name}.jsonl", LINES)
    with pytest.raises(DataError, match="found 2 .jsonl files; name one in the option `path`"):
        load(tmp_path, "jsonl", path=Path("mine"))


@pytest.mark.parametrize("path", ["../other", "/data/mine"])
def test_a_path_outside_the_root_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=f"^path must lie below the data root, got '{path}'$"):
        choose("jsonl", path=Path(path))
