"""Every mistake in an annotation file ends in one line that names file, record and key."""

import json
from pathlib import Path

import pytest

from tests.data.small_sets import cuhk_record, load, write_cuhk, write_json
from tpr.data.adapters.annotations import check_path
from tpr.errors import DataError

GOOD = cuhk_record("train", 1, "1.jpg", "a man")


def message_of(root: Path, content: bytes) -> str:
    """What reading CUHK-PEDES says when its annotation holds `content`."""
    path = write_cuhk(root)
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(root, "cuhk_pedes")
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"'cuhk_pedes': {path}: ", "")


def message_of_record(root: Path, **changes: object) -> str:
    """The same for a second record with changed values; None removes a key."""
    bad = {key: value for key, value in (GOOD | changes).items() if value is not None}
    write_cuhk(root, [GOOD, GOOD], images=False)
    path = write_json(root / "CUHK-PEDES" / "reid_raw.json", [GOOD, bad])
    with pytest.raises(DataError) as caught:
        load(root, "cuhk_pedes")
    return str(caught.value).replace(f"'cuhk_pedes': {path}: ", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; fetch it again"),
        (b" \n", "the file is empty; fetch it again"),
        (b'[{"a" 1}]', "not JSON (Expecting ':' delimiter at line 1, column 7); fetch the file again"),
        (b"<html>", "not JSON (Expecting value at line 1, column 1); fetch the file again"),
        (b'["caf\xe9"]', "not valid UTF-8 (byte 5); save the file as UTF-8"),
        (b"[]", "the list is empty; expected objects with captions, file_path, id"),
        (b"7", "found int 7; expected a list of objects with captions, file_path, id"),
        (
            b'{"a.jpg": "a man"}',
            "found an object with the keys a.jpg; expected a list of objects with captions, file_path, id",
        ),
        (b'[["a"]]', "record 0: found a list of a string; expected keys captions, file_path, id"),
        (
            b'[{"image": "x", "caption": "y"}]',
            "record 0: found the keys image, caption; expected captions, file_path, id",
        ),
    ],
)
def test_a_file_that_is_no_annotation_of_this_set(tmp_path: Path, content: bytes, message: str) -> None:
    assert message_of(tmp_path, content) == message


def test_json_that_nests_without_end_is_refused(tmp_path: Path) -> None:
    assert message_of(tmp_path, b"[" * 200_000).startswith("not JSON")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = write_cuhk(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load(tmp_path, "cuhk_pedes")) == 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("id", "7", "'id' must be a whole number, found a string \"7\""),
        ("id", True, "'id' must be a whole number, found true or false true"),
        ("id", 2**63, "'id' must be a whole number, found int 9223372036854775808"),
        ("captions", 5, "'captions' must be a list of strings, found int 5"),
        ("captions", ["a", None], "'captions' must be a list of strings, found a list of a string, nothing"),
        ("file_path", 3, "'file_path' must be a string, found int 3"),
        ("split", ["train"], "'split' must be a string, found a list of a string"),
        ("id", 1.5, "'id' must be a whole number, found float 1.5"),
        ("id", float("inf"), "'id' must be a whole number, found float Infinity"),
        ("id", 1e300, "'id' must be a whole number, found float 1e+300"),
        ("id", float("nan"), "'id' is missing: found float NaN; expected a whole number"),
        ("id", "", "'id' is missing: found a string \"\"; expected a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_record(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    assert message_of_record(tmp_path, **{key: value}) == f"record 1: {message}"


def test_an_identity_that_is_null_is_named_as_missing(tmp_path: Path) -> None:
    write_cuhk(tmp_path, [GOOD], images=False)
    write_json(tmp_path / "CUHK-PEDES" / "reid_raw.json", [GOOD | {"id": None}])
    with pytest.raises(DataError, match="record 0: 'id' is missing: found nothing; expected a whole number"):
        load(tmp_path, "cuhk_pedes")


def test_identities_that_a_table_program_wrote_as_floats_are_whole_numbers(tmp_path: Path) -> None:
    write_cuhk(tmp_path, [GOOD | {"id": 7.0, "split": "test"}, GOOD | {"file_path": "2.jpg"}], images=False)
    assert load(tmp_path, "cuhk_pedes", "test").identity.tolist() == [7]


def test_many_and_strange_keys_are_cut_and_stay_one_line(tmp_path: Path) -> None:
    keys = {f"a\nb{number}" * 40: 1 for number in range(20)}
    message = message_of(tmp_path, json.dumps([keys]).encode())
    assert "\\n" in message
    assert "and 12 more; expected captions, file_path, id" in message
    assert len(message) < 700


def test_a_missing_key_is_named_with_what_was_found(tmp_path: Path) -> None:
    assert message_of_record(tmp_path, file_path=None) == (
        "record 1: found the keys split, captions, id, processed_tokens; expected captions, file_path, id"
    )


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "a/../../b.jpg", "/etc/passwd", "C:\\x.jpg", "..\\b.jpg", "", "a\0b"]
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    message = message_of_record(tmp_path, file_path=path)
    assert message == f"record 1: the image path {path!r} is empty or leaves the dataset's folder"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("a/" + "x" * 256, "is longer than a file's can be"),
        ("写" * 86 + ".jpg", "is longer than a file's can be"),
        ("/".join(["x" * 200] * 20), "is longer than a file's can be"),
        ("\ud800.jpg", "has half a letter; save it as UTF-8"),
    ],
)
def test_a_path_that_no_file_can_have_is_refused(path: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        check_path(path, "here")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "name",
    [
        "Bildschirmfoto 10.12.26\u202fPM.png",
        "写真\u3000一.jpg",
        " a.jpg",
        "a .jpg",
        "写" * 83 + ".jpg",
        "a\nb",
    ],
)
def test_every_name_that_a_file_can_have_is_kept(tmp_path: Path, name: str) -> None:
    assert check_path(name, "here") == name
    write_cuhk(tmp_path, [cuhk_record("train", 1, f"cam_a/{name}", "a man")], images=False)
    assert load(tmp_path, "cuhk_pedes").image_path(0) == f"CUHK-PEDES/imgs/cam_a/{name}"


def test_backslashes_and_leading_dots_become_a_plain_path() -> None:
    assert check_path(".\\cam_a\\1.jpg", "here") == "cam_a/1.jpg"
    assert check_path("a..b/c.jpg", "here") == "a..b/c.jpg"


def test_half_a_surrogate_pair_is_refused_with_the_image(tmp_path: Path) -> None:
    path = write_cuhk(tmp_path)
    path.write_text(path.read_text().replace("she runs", "\\ud800"))
    with pytest.raises(DataError, match=r"^'cuhk_pedes': image 'CUHK-PEDES/imgs/Market/2.jpg': its values"):
        load(tmp_path, "cuhk_pedes")


@pytest.mark.parametrize("path", ["a//b.jpg", "a/./b.jpg", "./a/b.jpg", ".//a/b.jpg", "a\\b.jpg"])
def test_a_path_has_one_spelling(path: str) -> None:
    assert check_path(path, "here") == "a/b.jpg"
