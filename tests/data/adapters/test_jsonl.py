import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sets import choose, list_rows, load, make_options, write_image, write_jsonl
from tpr.config.schema import EvaluationOptions
from tpr.data.adapters.jsonl import Jsonl
from tpr.data.samples.sample import Attribute
from tpr.data.samples.views import LabelledSamples, Views
from tpr.data.tables.corpora import load_corpora
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


def test_backslashes_separate_folders_but_in_the_name_of_a_file_that_is_there(tmp_path: Path) -> None:
    lines = [{"image": "a\\1.jpg", "caption": "one"}, {"image": "a\\2.jpg", "caption": "two"}]
    write_jsonl(tmp_path / "mine" / "people.jsonl", lines)
    write_image(tmp_path / "mine" / "a\\1.jpg")
    write_image(tmp_path / "mine" / "a" / "2.jpg")
    rows = list_rows(load(tmp_path, "jsonl", path=Path("mine")))
    assert [image for image, *_ in rows] == ["mine/a\\1.jpg", "mine/a/2.jpg"]


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


def test_without_identities_each_image_is_its_own_class(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "mine" / "p.jsonl",
        [{"image": "1.jpg", "caption": "x"}, {"image": "2.jpg", "caption": "y"}],
    )
    corpus = load(tmp_path, "jsonl", path=Path("mine"))
    assert not corpus.has_identities
    assert corpus.identity.tolist() == [0, 1]


CAPTION_LINES: list[dict[str, Any]] = [
    {"image": "1.jpg", "caption": "a"},
    {"image": "2.jpg", "captions": ["b", "c"]},
    {"image": "./1.jpg", "caption": "d"},
    {"image": "1.jpg", "caption": "a"},
    {"image": "2.jpg"},
]


@pytest.mark.parametrize("identity", [None, 7, "anna"])
def test_an_image_with_a_line_per_caption_is_one_sample(tmp_path: Path, identity: int | str | None) -> None:
    lines = [line if identity is None else line | {"identity": identity} for line in CAPTION_LINES]
    write_jsonl(tmp_path / "mine" / "p.jsonl", lines)
    corpus = load(tmp_path, "jsonl", path=Path("mine"))
    second = 1 if identity is None else 0
    assert list_rows(corpus) == [("mine/1.jpg", 0, ["a", "d"]), ("mine/2.jpg", second, ["b", "c"])]
    assert corpus.has_identities == (identity is not None)
    assert corpus.caption_count == 4


def test_images_with_a_line_per_caption_are_held_out_whole(tmp_path: Path) -> None:
    lines = [{"image": f"{n % 10}.jpg", "caption": f"c{n}"} for n in range(30)]
    write_jsonl(tmp_path / "mine" / "p.jsonl", lines)
    data = make_options(tmp_path, train=(choose("jsonl", path=Path("mine")),))
    corpora = load_corpora(data, EvaluationOptions(select_on="val", held_out=0.3), seed=1)
    assert corpora.train is not None
    parts = [{row[0] for row in list_rows(corpus)} for corpus in (corpora.train, corpora.val["mine"])]
    assert (len(parts[0]), len(parts[1]), parts[0] & parts[1]) == (7, 3, set())
    assert corpora.val["mine"].caption_count == 9


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"identity": 1}, {"identity": 2}, "the identity 2 here, but 1 in line 1"),
        ({"identity": "a"}, {"identity": "b"}, "the identity 'b' here, but 'a' in line 1"),
        ({"split": "test"}, {}, "the split 'train' here, but 'test' in line 1"),
        ({"camera": 2}, {"camera": 3}, "the camera 3 here, but 2 in line 1"),
    ],
)
def test_lines_of_one_image_that_differ_are_named_both(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    path = write_jsonl(
        tmp_path / "mine" / "p.jsonl",
        [{"image": "1.jpg"} | first, {"image": "2.jpg"} | first, {"image": "1.jpg"} | second],
    )
    with pytest.raises(DataError) as caught:
        load(tmp_path, "jsonl", path=Path("mine"))
    assert f"{path}: line 3: the image 'mine/1.jpg' has {message}; give all lines of" in str(caught.value)


def test_a_camera_that_one_line_of_an_image_lacks_is_the_other_lines_camera(tmp_path: Path) -> None:
    lines = [{"image": "1.jpg"}, {"image": "1.jpg", "camera": 4.0}, {"image": "1.jpg", "camera": None}]
    write_jsonl(tmp_path / "mine" / "p.jsonl", lines)
    assert load(tmp_path, "jsonl", path=Path("mine")).cameras().tolist() == [4]


def test_numbers_that_a_table_program_wrote_are_whole(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "p.jsonl").write_text(
        '{"image": "1.jpg", "identity": 3.0, "camera": 2.0, "split": "test"}\n'
        '{"image": "2.jpg", "identity": 3, "camera": NaN, "split": "test"}\n'
        '{"image": "3.jpg", "identity": 1.0, "camera": "", "split": "test"}\n'
    )
    corpus = load(tmp_path, "jsonl", "test", path=Path("mine"))
    assert corpus.identity.tolist() == [3, 3, 1]
    assert corpus.cameras().tolist() == [2, -1, -1]


@pytest.mark.parametrize("value", ["null", "NaN", '""'])
def test_identities_that_all_lines_lack_are_none(tmp_path: Path, value: str) -> None:
    (tmp_path / "mine").mkdir()
    lines = [f'{{"image": "{n}.jpg", "identity": {value}, "caption": "x"}}\n' for n in range(2)]
    (tmp_path / "mine" / "p.jsonl").write_text("".join(lines))
    assert not load(tmp_path, "jsonl", path=Path("mine")).has_identities


@pytest.mark.parametrize(
    ("value", "shown"),
    [("null", "nothing"), ("NaN", "float NaN"), ('""', 'a string ""')],
)
def test_an_identity_that_one_line_lacks_is_named_as_missing(tmp_path: Path, value: str, shown: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "p.jsonl").write_text(
        f'{{"image": "1.jpg", "identity": 5.0}}\n{{"image": "2.jpg", "identity": {value}}}\n'
    )
    with pytest.raises(DataError) as caught:
        load(tmp_path, "jsonl", path=Path("mine"))
    assert "line 2: 'identity' must be a number in every line" in str(caught.value)
    assert f"here it is missing: found {shown}, line 1 has a number" in str(caught.value)


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
            "line 2: the image path '../x' is empty or leaves the dataset's folder",
        ),
        (
            {"image": "x", "identity": 1, "captions": 3},
            "line 2: 'captions' must be a list of strings, found int 3",
        ),
        ({"image": "x", "identity": 1.5}, "line 2: 'identity' must be a whole number, found float 1.5"),
        ({"image": "x", "identity": True}, "line 2: 'identity' must be a whole number, found true or false"),
        (
            {"image": "x", "identity": 1, "camera": 1.5},
            "line 2: 'camera' must be a whole number, found float",
        ),
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


DECLARED = {"gender": ("woman", "man"), "hat": ("none", "cap", "beanie")}
ATTRIBUTE_LINES: list[dict[str, Any]] = [
    {"image": "1.jpg", "attributes": {"hat": "beanie", "gender": "man"}},
    {"image": "2.jpg", "attributes": {"gender": "woman", "hat": None}},
    {"image": "3.jpg"},
]


def test_named_attributes_become_labels_in_the_order_of_their_declaration(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine" / "p.jsonl", ATTRIBUTE_LINES)
    corpus = load(tmp_path, "jsonl", path=Path("mine"), attributes=DECLARED)
    assert corpus.table.column("attributes").to_pylist() == [[1, 2], [0, -1], [-1, -1]]
    assert corpus.task.attributes == (
        Attribute("gender", DECLARED["gender"]),
        Attribute("hat", DECLARED["hat"]),
    )
    options, views = make_options(tmp_path, unit="image"), Views(image=False, attributes=True)
    entries, _ = LabelledSamples(corpus, options, views, seed=1).read(np.array([1, 0]), 1)
    assert entries["attributes"].tolist() == [[0, -1], [1, 2]]
    bare = load(tmp_path, "jsonl", path=Path("mine"))
    assert bare.table.column("attributes").to_pylist() == [[], [], []] and not bare.task.attributes


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"hat": "crown"}, "line 4: the attribute 'hat' is a string \"crown\"; known: none, cap, beanie"),
        ({"hat": True}, "line 4: the attribute 'hat' is true or false true; known: none, cap, beanie"),
        ({"hut": "cap"}, "line 4: the attribute 'hut' is not declared; known: gender, hat"),
        (["cap"], "line 4: 'attributes' must be names with values, found a list of a string"),
    ],
)
def test_an_attribute_that_is_not_declared_is_named(tmp_path: Path, attributes: Any, problem: str) -> None:
    write_jsonl(
        tmp_path / "mine" / "p.jsonl", [*ATTRIBUTE_LINES, {"image": "4.jpg", "attributes": attributes}]
    )
    with pytest.raises(DataError, match=re.escape(problem)):
        load(tmp_path, "jsonl", path=Path("mine"), attributes=DECLARED)


def test_lines_of_one_image_agree_on_its_attributes(tmp_path: Path) -> None:
    lines = [ATTRIBUTE_LINES[0], ATTRIBUTE_LINES[0] | {"attributes": {"gender": "man"}}]
    write_jsonl(tmp_path / "mine" / "p.jsonl", lines)
    with pytest.raises(DataError, match=r"has the attributes \(1, -1\) here, but \(1, 2\) in line 1"):
        load(tmp_path, "jsonl", path=Path("mine"), attributes=DECLARED)
