from pathlib import Path
from typing import Any

import pytest

from tests.data.small_sets import list_rows, load, write_image, write_json
from tpr.data.adapters.luperson_mllm import FILES
from tpr.errors import DataError


def write_set(
    root: Path,
    columns: list[dict[str, Any]],
    folder: str = "LUPerson-MLLM/captions",
    images: str = "LUPerson-MLLM",
) -> None:
    """Caption files in the published order, and an image for every key."""
    for name, column in zip(FILES, columns, strict=True):
        write_json(root / folder / name, column)
        for key in column:
            write_image(root / images / key.rsplit("/", 1)[-1])


FOUR = [
    {"b.jpg": "ts qwen b", "a.jpg": "ts qwen a"},
    {"a.jpg": "td qwen"},
    {"a.jpg": "ts shikra"},
    {"a.jpg": "td shikra"},
]


def test_captions_come_in_the_order_of_the_four_files_and_images_by_name(tmp_path: Path) -> None:
    write_set(tmp_path, FOUR)
    assert list_rows(load(tmp_path, "luperson_mllm")) == [
        ("LUPerson-MLLM/a.jpg", 0, ["ts qwen a", "td qwen", "ts shikra", "td shikra"]),
        ("LUPerson-MLLM/b.jpg", 1, ["ts qwen b"]),
    ]


def test_images_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    write_set(tmp_path, FOUR, images="LUPerson-MLLM/images")
    assert load(tmp_path, "luperson_mllm").image_path(0) == "LUPerson-MLLM/images/a.jpg"


def test_lists_give_their_last_caption_and_keys_may_carry_folders(tmp_path: Path) -> None:
    write_set(tmp_path, [{"old/place/a.jpg": ["draft", "final"]}, {}, {}, {}][:1] + [{"a.jpg": "x"}] * 3)
    assert load(tmp_path, "luperson_mllm").captions(0) == ["final", "x", "x", "x"]


def test_a_bad_caption_becomes_a_good_static_one_of_the_same_image(tmp_path: Path) -> None:
    write_set(
        tmp_path,
        [{"a.jpg": "a [hair description] man"}, {"a.jpg": "a <p> man"}, {"a.jpg": "good"}, {"a.jpg": "td"}],
    )
    assert load(tmp_path, "luperson_mllm").captions(0) == ["good", "good", "good", "td"]


def test_a_bad_caption_stays_where_no_static_one_is_good(tmp_path: Path) -> None:
    write_set(tmp_path, [{"a.jpg": "a <"}, {"a.jpg": "td"}, {"a.jpg": "b <"}, {"a.jpg": "description]"}])
    assert load(tmp_path, "luperson_mllm").captions(0) == ["a <", "td", "b <", "description]"]


def test_repair_draws_from_both_static_captions_and_repeats_by_seed(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(40)]
    texts = ("first", "<", "second", "td")
    write_set(tmp_path, [dict.fromkeys(names, text) for text in texts])
    drawn = [
        load(tmp_path, "luperson_mllm", seed=seed).captions(row)[1] for seed in (1, 2) for row in range(40)
    ]
    assert set(drawn[:40]) == {"first", "second"}
    assert drawn[:40] != drawn[40:]
    assert drawn[:40] == [load(tmp_path, "luperson_mllm").captions(row)[1] for row in range(40)]


def test_the_number_of_repairs_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_set(tmp_path, [{"a.jpg": "a <"}, {"a.jpg": "<"}, {"a.jpg": "good"}, {"a.jpg": "td"}])
    with caplog.at_level("INFO"):
        load(tmp_path, "luperson_mllm")
    assert (
        "luperson_mllm: 2 captions with unfilled slots or mark-up were replaced by static ones" in caplog.text
    )


def test_complete_only_leaves_out_images_without_a_caption_in_every_file(tmp_path: Path) -> None:
    write_set(tmp_path, FOUR)
    assert len(load(tmp_path, "luperson_mllm", complete_only=True)) == 1


def test_so_many_images_are_drawn_by_seed(tmp_path: Path) -> None:
    write_set(tmp_path, [{f"{number:03d}.jpg": f"caption {number}" for number in range(50)}] * 4)
    first, again, other = (load(tmp_path, "luperson_mllm", images=9, seed=seed) for seed in (1, 1, 2))
    assert len(first) == 9
    assert first.identity.tolist() == list(range(9))
    assert list_rows(first) == list_rows(again) != list_rows(other)
    assert load(tmp_path, "luperson_mllm", images=60).caption_count == 200


def test_captions_where_the_run_starts_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tmp_path / "start"
    write_set(tmp_path / "data", FOUR)
    write_set(tmp_path / "data", [{"a.jpg": "from the start folder"}] * 4, folder="../start/captions")
    monkeypatch.chdir(start)
    assert load(tmp_path / "data", "luperson_mllm").captions(0)[0] == "from the start folder"


def test_captions_of_another_collection_where_the_run_starts_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "data", FOUR)
    for name in FILES:
        write_json(tmp_path / "start" / "captions" / name, {"elsewhere.jpg": "a man"})
    monkeypatch.chdir(tmp_path / "start")
    assert load(tmp_path / "data", "luperson_mllm").captions(1) == ["ts qwen b"]


def test_the_option_names_the_caption_folder_below_the_root(tmp_path: Path) -> None:
    write_set(tmp_path, FOUR, folder="elsewhere")
    assert len(load(tmp_path, "luperson_mllm", captions=Path("elsewhere"))) == 2
    with pytest.raises(DataError, match=r"nowhere/Ts-qwen.json not found. Expected: LUPerson-MLLM"):
        load(tmp_path, "luperson_mllm", captions=Path("nowhere"))


def test_a_missing_caption_file_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, FOUR)
    (tmp_path / "LUPerson-MLLM" / "captions" / "Td-shikra.json").unlink()
    with pytest.raises(DataError, match=r"captions/Td-shikra.json not found\. Expected: LUPerson-MLLM"):
        load(tmp_path, "luperson_mllm")
    assert load(tmp_path, "luperson_mllm", files=FILES[:2]).caption_count == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.jpg": 3}, "image 'a.jpg': the caption must be a string, found int 3"),
        ({"a.jpg": []}, "image 'a.jpg': the caption must be a string, found an empty list"),
        ({"a/..": "x"}, "image 'a/..': the image path '..' is empty or leaves the dataset's folder"),
        ({}, "the object is empty; expected {image name: caption}"),
        (
            [{"id": 1, "captions": []}],
            "found a list of objects with the keys id, captions; expected one object {image name: caption}",
        ),
    ],
)
def test_a_wrong_caption_file_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    write_set(tmp_path, FOUR)
    path = write_json(tmp_path / "LUPerson-MLLM" / "captions" / "Td-qwen.json", content)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "luperson_mllm")
    assert str(caught.value) == f"'luperson_mllm': {path}: {message}"


def test_images_that_are_not_on_disk_are_left_out_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_set(tmp_path, FOUR)
    (tmp_path / "LUPerson-MLLM" / "a.jpg").unlink()
    assert len(load(tmp_path, "luperson_mllm")) == 2
    assert list_rows(load(tmp_path, "luperson_mllm", on_missing_image="skip")) == [
        ("LUPerson-MLLM/b.jpg", 0, ["ts qwen b"])
    ]
    assert "luperson_mllm: 1 of 2 images are not on disk" in caplog.text
    (tmp_path / "LUPerson-MLLM" / "b.jpg").unlink()
    with pytest.raises(DataError, match="none of 2 images is on disk, the first is LUPerson-MLLM/a.jpg"):
        load(tmp_path, "luperson_mllm", on_missing_image="skip")
