"""Banks of styles, and instruction data in HAM's form: what is written is what is read."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.captioning.styles.worlds import make_bank, make_features, write_clip, write_world
from tpr.captioning.styles.bank import INSTRUCTIONS, STYLES, find_styles
from tpr.captioning.styles.examples import Example, read_examples
from tpr.captioning.styles.options import ClusterOptions
from tpr.config.typed import build_options
from tpr.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    root = write_world(folder / "data")
    return make_features(folder / "features", root, write_clip(folder / "clip.pt"))


def test_styles_by_kmeans_come_first_and_all_are_numbered(tmp_path: Path, features) -> None:
    styles = make_bank(tmp_path / "bank", features)
    assert [style.source for style in styles] == ["kmeans"] * 3 + ["ups"] * 2
    rows = pq.read_table(tmp_path / "bank" / STYLES).to_pylist()
    assert [row["style"] for row in rows] == list(range(5))
    assert [row["captions"] for row in rows] == [style.rows.tolist() for style in styles]
    assert sum(len(row["captions"]) for row in rows[:3]) == 24
    texts = features.texts.column("text").to_pylist()
    for row in rows:
        members = {texts[number] for number in row["captions"]}
        assert set(row["examples"]) <= members and len(row["examples"]) == min(4, len(members))


def test_instruction_data_is_read_as_it_was_meant(tmp_path: Path, features) -> None:
    styles = make_bank(tmp_path / "bank", features)
    examples, count = read_examples(tmp_path / "bank" / INSTRUCTIONS, None)
    assert count == 5 and len(examples) == 24 + 2 * 5
    rows = features.texts.to_pylist()
    wanted = [
        Example(rows[row]["image"], "Describe the person.", rows[row]["caption"], number)
        for number, style in enumerate(styles)
        for row in style.rows
    ]
    assert examples == wanted


def test_the_same_features_give_the_same_bank(tmp_path: Path, features) -> None:
    contents = []
    for name in ("one", "two"):
        make_bank(tmp_path / name, features)
        contents.append([(tmp_path / name / file).read_bytes() for file in (STYLES, INSTRUCTIONS)])
    assert contents[0] == contents[1]
    with pytest.raises(ConfigError, match="holds styles already"):
        make_bank(tmp_path / "one", features)


def test_dbscan_takes_the_place_of_kmeans(tmp_path: Path, features) -> None:
    styles = make_bank(tmp_path / "bank", features, dbscan=True, dbscan_neighbours=3, ups=0)
    assert {style.source for style in styles} == {"dbscan"} and len(styles) > 1


def test_sets_can_have_styles_of_their_own(features) -> None:
    half = ["cuhk_pedes"] * 12 + ["icfg_pedes"] * 12
    column = pa.array(half).dictionary_encode()
    two = replace(features, texts=features.texts.set_column(0, "set", column))
    options = ClusterOptions(kmeans=2, ups=1, ups_members=5, pooled=False)
    styles = find_styles(two, options)
    assert [style.source for style in styles] == ["kmeans", "kmeans", "ups"] * 2
    for number, style in enumerate(styles):
        assert {half[row] for row in style.rows} == {half[0] if number < 3 else half[-1]}
    pooled = find_styles(two, replace(options, pooled=True))
    assert [style.source for style in pooled] == ["kmeans", "kmeans", "ups"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kmeans": -1}, "kmeans: expected int >= 0"),
        ({"ups_members": 0}, "ups_members: expected int >= 1"),
        ({"ups_reach": 0}, "ups_reach: expected float > 0"),
        ({"kmeans": 0, "ups": 0}, "there would be no style"),
        ({"ups_metric": "l1"}, "expected one of l2, cosine"),
        ({"k": 3}, "no such option"),
    ],
)
def test_wrong_options_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_options(ClusterOptions, values, {})


def record(**changes: object) -> dict[str, object]:
    """A record of HAM's instruction data."""
    turns = [
        {"from": "human", "value": "<image>\nDescribe  the person."},
        {"from": "gpt", "value": "A man\n waits. "},
    ]
    return {"id": "7", "image": "imgs/a.jpg", "conversations": turns, "class_id": 3, "style_id": 0, **changes}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_hams_own_records_are_read(tmp_path: Path) -> None:
    bare = record()
    del bare["id"], bare["style_id"]
    path = write(tmp_path / "ham.json", [record(), bare])
    example = Example("imgs/a.jpg", "Describe the person.", "A man waits.", 3)
    assert read_examples(path, None) == ([example, example], 4)
    assert read_examples(path, 3000) == ([example, example], 3000)


def turns(human: object = "<image>\nDescribe.", gpt: object = "A man.", speaker: str = "gpt") -> object:
    return [{"from": "human", "value": human}, {"from": speaker, "value": gpt}]


BAD_DATA = [
    ("{", "not JSON that can be read"),
    ("[]", "expected a list of records"),
    ({"a": 1}, "expected a list of records"),
    ([3], "record 0: expected an object, got '3'"),
    ([record(), {"image": "a.jpg"}], "record 1: lacks conversations, class_id"),
    ([record(class_id=-1)], "record 0: class_id must be a number from 0, got -1"),
    ([record(class_id=True)], "class_id must be a number from 0, got True"),
    ([record(class_id="3")], "class_id must be a number from 0, got '3'"),
    ([record(image="../../etc/passwd")], "image must be a path below the folder of images"),
    ([record(image="/etc/passwd")], "image must be a path below the folder of images"),
    ([record(conversations=[])], "conversations must be one turn of 'human' and one of 'gpt'"),
    ([record(conversations=turns(speaker="human"))], "conversations must be one turn of"),
    ([record(conversations=turns(gpt=None))], "conversations must be one turn of"),
    ([record(conversations=turns(gpt=" "))], "the caption is empty"),
    ([record(conversations=turns(human="Describe."))], "the human's words need <image> once"),
    ([record(class_id=9)], "record 0 has class_id 9, but with styles=5 the highest is 4"),
]


@pytest.mark.parametrize(("content", "message"), BAD_DATA, ids=[message[:40] for _, message in BAD_DATA])
def test_bad_records_are_named_in_one_line(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_examples(write(tmp_path / "bad.json", content), 5)
    assert "\n" not in str(caught.value) and "bad.json" in str(caught.value)


def test_missing_data_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found; `tpr style cluster` writes instructions.json"):
        read_examples(tmp_path / "absent.json", None)
