"""CUHK-PEDES, ICFG-PEDES and RSTPReid in every published form."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.data.small_sets import choose, cuhk_record, list_rows, load, make_options, write_cuhk, write_json
from tpr.data.adapters import ADAPTERS
from tpr.data.tables.cache import open_entry
from tpr.data.tables.corpora import build_adapter, load_split
from tpr.errors import ConfigError, DataError


def test_cuhk_keeps_file_order_and_numbers_training_identities_from_zero(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    assert list_rows(load(tmp_path, "cuhk_pedes", "train")) == [
        ("CUHK-PEDES/imgs/cam_a/1.jpg", 1, ["a man", "he walks"]),
        ("CUHK-PEDES/imgs/Market/2.jpg", 0, ["a woman", "she runs"]),
        ("CUHK-PEDES/imgs/CUHK01/3.jpg", 1, ["the man again"]),
    ]


def test_cuhk_test_identities_stay_as_published(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    assert list_rows(load(tmp_path, "cuhk_pedes", "test")) == [
        ("CUHK-PEDES/imgs/test_query/5.jpg", 12, ["a girl", "in red"])
    ]


KNOWN_TRAIN, KNOWN_VAL = "train_query/p11600_s14885.jpg", "test_query/p10376_s14337.jpg"
PUBLISHED = {
    "CUHK03/1_1.jpg": 1, KNOWN_TRAIN: 11_003, KNOWN_VAL: 11_071, "Market/d.jpg": 12_003,
    "cam_a/e.jpg": 12_004, "cam_b/f.jpg": 13_003,
}  # fmt: skip
"""Images and identities as reid_raw.json numbers them."""
OTHER = {KNOWN_VAL: 1, "CUHK03/1_1.jpg": 2, KNOWN_TRAIN: 12_500, "Market/d.jpg": 13_003}
"""The same images as caption_all.json numbers them."""


def write_unsplit(root: Path, identities: dict[str, int], **splits: str) -> Path:
    """An annotation without splits; an image's split may be given by its file's stem."""
    (root / "CUHK-PEDES" / "imgs").mkdir(parents=True, exist_ok=True)
    records = [
        cuhk_record(splits.get(Path(image).stem), identity, image, "a person")
        for image, identity in identities.items()
    ]
    return write_json(root / "CUHK-PEDES" / "caption_all.json", records)


def refuse_unsplit(root: Path, identities: dict[str, int]) -> str:
    path = write_unsplit(root, identities)
    with pytest.raises(DataError) as caught:
        load(root, "cuhk_pedes")
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"'cuhk_pedes': {path}: ", "")


def sizes(root: Path, **options: Any) -> list[int]:
    """Images in train, val and test; 0 where there is no such split."""
    entry = open_entry(build_adapter(choose("cuhk_pedes", **options)), make_options(root))
    return [entry.manifest.splits[s].rows if s in entry.splits else 0 for s in ("train", "val", "test")]


def test_cuhk_without_split_in_the_published_numbering_is_cut_by_its_ranges(tmp_path: Path) -> None:
    write_unsplit(tmp_path, PUBLISHED)
    assert sizes(tmp_path) == [2, 2, 2]
    assert load(tmp_path, "cuhk_pedes", "test").identity.tolist() == [12_004, 13_003]


def test_cuhk_in_the_numbering_of_caption_all_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert refuse_unsplit(tmp_path, OTHER) == (
        "4 records have no 'split', and record 2 gives train_query/p11600_s14885.jpg the identity 12500, "
        "which is 11003 in reid_raw.json, so that the published ranges of identities would cut wrongly; "
        "fetch reid_raw.json, or set the option `splits` to it or to a JSON file "
        '{"test": [image paths], "val": [image paths]}'
    )


@pytest.mark.parametrize(
    ("identities", "doubt"),
    [
        ({KNOWN_VAL: 1}, f"record 0 gives {KNOWN_VAL} the identity 1, which is 11071 in reid_raw.json"),
        (
            {"train_query/a.jpg": 3, "test_query/b.jpg": 4},
            "record 1 has identity 4 in test_query/, so that the published",
        ),
        (
            {"test_query/b.jpg": 12_500, "train_query/a.jpg": 11_004},
            "record 1 has identity 11004 in train_query/",
        ),
        (
            {"cam_a/1.jpg": 1, "cam_a/2.jpg": 12_500},
            "nothing shows that their identities are numbered as in reid",
        ),
        ({"train_query/a.jpg": 7}, "nothing shows that their identities are numbered as in reid_raw.json"),
    ],
)
def test_cuhk_without_split_in_doubt_is_refused(
    tmp_path: Path, identities: dict[str, int], doubt: str
) -> None:
    assert doubt in refuse_unsplit(tmp_path, identities)


def test_a_part_of_cuhk_whose_folders_stand_on_their_sides_is_cut_by_ranges(tmp_path: Path) -> None:
    write_unsplit(
        tmp_path, {"train_query/a.jpg": 11_000, "test_query/b.jpg": 12_800, "test_query/c.jpg": 11_500}
    )
    assert sizes(tmp_path) == [1, 1, 1]


def test_cuhk_takes_its_splits_from_reid_raw_in_any_numbering_and_order(tmp_path: Path) -> None:
    write_unsplit(tmp_path, OTHER)
    splits = {"imgs/Market/d.jpg": "TEST", KNOWN_TRAIN: "train", "CUHK03/1_1.jpg": "train", KNOWN_VAL: "val"}
    records = [{"file_path": image, "split": split} for image, split in splits.items()]
    write_json(tmp_path / "elsewhere" / "reid_raw.json", records)
    option = {"splits": Path("elsewhere/reid_raw.json")}
    assert sizes(tmp_path, **option) == [2, 1, 1]
    assert list_rows(load(tmp_path, "cuhk_pedes", "val", **option)) == [
        (f"CUHK-PEDES/imgs/{KNOWN_VAL}", 1, ["a person"])
    ]
    write_json(tmp_path / "elsewhere" / "reid_raw.json", records[:3])
    with pytest.raises(
        DataError, match=rf"record 0: the image '{KNOWN_VAL}' has no split in .*reid_raw.json"
    ):
        load(tmp_path, "cuhk_pedes", **option)


def test_cuhk_takes_its_splits_from_lists_of_paths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_unsplit(tmp_path, OTHER)
    path = write_json(
        tmp_path / "CUHK-PEDES" / "lists.json", {"val": ["Market/d.jpg", "x.jpg"], "test": [KNOWN_VAL]}
    )
    with caplog.at_level(logging.INFO):
        assert sizes(tmp_path, splits=Path("lists.json")) == [2, 1, 1]
    assert f"{path}: 1 listed images are not annotated, the first is 'x.jpg'" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"val": []}, "found an object with the keys val; expected records with split, file_path or"),
        ({"test": "a.jpg"}, "'test' must be a list of image paths, found a string"),
        ({"test": ["../a.jpg"]}, "test: the image path '../a.jpg' is empty or leaves"),
        ({"test": ["a.jpg"], "val": ["a.jpg"]}, "the image 'a.jpg' is listed for val and for test"),
        (
            {"test": ["a.jpg"]},
            "lists no image of the annotation, the first is 'a.jpg'; expected paths below",
        ),
        ([{"file_path": "a.jpg"}], "record 0: found the keys file_path; expected split, file_path"),
        (3, "found int 3; expected records with split, file_path or"),
    ],
)
def test_a_wrong_file_of_splits_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    write_unsplit(tmp_path, OTHER)
    path = write_json(tmp_path / "splits.json", content)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "cuhk_pedes", splits=Path("splits.json"))
    assert f"'cuhk_pedes': {path}: {message}" in str(caught.value)


def test_a_file_of_splits_that_is_missing_or_outside_is_named(tmp_path: Path) -> None:
    write_unsplit(tmp_path, OTHER)
    with pytest.raises(DataError, match=r"nowhere.json not found, which the option `splits` names"):
        load(tmp_path, "cuhk_pedes", splits=Path("nowhere.json"))
    with pytest.raises(ConfigError, match=r"^splits must lie below the data root, got '../x.json'$"):
        choose("cuhk_pedes", splits=Path("../x.json"))


def test_records_of_one_image_are_joined_or_refused_with_both_numbers(tmp_path: Path) -> None:
    records = [
        cuhk_record("train", 1, "cam_a/1.jpg", "one"),
        cuhk_record("train", 2, "cam_a/2.jpg", "two"),
        cuhk_record("train", 1, "imgs/cam_a/1.jpg", "three"),
        cuhk_record("train", 1, "cam_a/1.jpg", "one"),
    ]
    path = write_cuhk(tmp_path, records, images=False)
    assert list_rows(load(tmp_path, "cuhk_pedes")) == [
        ("CUHK-PEDES/imgs/cam_a/1.jpg", 0, ["one", "three"]),
        ("CUHK-PEDES/imgs/cam_a/2.jpg", 1, ["two"]),
    ]
    for changes, fact in (
        ({"id": 5}, "identity 5 here, but 2"),
        ({"split": "test"}, "split 'test' here, but 'train'"),
    ):
        write_json(path, [*records, cuhk_record("train", 2, "cam_a/2.jpg", "x") | changes])
        with pytest.raises(
            DataError, match=rf"record 4: the image 'cam_a/2.jpg' has the {fact} in record 1; give"
        ):
            load(tmp_path, "cuhk_pedes")


def test_reid_raw_wins_over_caption_all(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    write_json(tmp_path / "CUHK-PEDES" / "caption_all.json", [cuhk_record(None, 1, "x.jpg", "other")])
    assert len(load(tmp_path, "cuhk_pedes", "train")) == 3


def test_split_names_may_have_capitals(tmp_path: Path) -> None:
    names = ["Train", "TEST", " Val"]
    write_cuhk(tmp_path, [cuhk_record(name, n, f"{n}.jpg", "x") for n, name in enumerate(names)])
    sizes = {split: len(load(tmp_path, "cuhk_pedes", split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 1, "val": 1, "test": 1}


@pytest.mark.parametrize("word", ["", " ", "valid", "tarin", "query"])
def test_a_split_that_no_published_file_has_is_named_with_its_record(tmp_path: Path, word: str) -> None:
    records = [cuhk_record("train", 0, "0.jpg", "x"), cuhk_record(word, 1, "1.jpg", "x")]
    path = write_cuhk(tmp_path, records)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "cuhk_pedes")
    assert f"{path}: record 1: 'split' must be one of train, val, test, found {word!r}" in str(caught.value)
    write_unsplit(tmp_path, OTHER)
    splits = write_json(tmp_path / "splits.json", records)
    with pytest.raises(DataError, match=rf"{splits}: record 1: 'split' must be one of train, val, test, fou"):
        load(tmp_path, "cuhk_pedes", splits=Path("splits.json"))


def test_a_path_that_begins_with_imgs_is_found_too(tmp_path: Path) -> None:
    write_cuhk(tmp_path, [cuhk_record("test", 1, "imgs/cam_a/1.jpg", "x")], images=False)
    assert load(tmp_path, "cuhk_pedes", "test").image_path(0) == "CUHK-PEDES/imgs/cam_a/1.jpg"


@pytest.mark.parametrize("name", ["ICFG-PEDES.json", "ICFG_PEDES.json"])
def test_icfg_is_read_under_both_file_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "ICFG-PEDES" / "imgs").mkdir(parents=True)
    records = [
        cuhk_record("train", 0, "test/0000/1.jpg", "a man"),
        cuhk_record("test", 5, "train/1.jpg", "x"),
    ]
    write_json(tmp_path / "ICFG-PEDES" / name, records)
    assert list_rows(load(tmp_path, "icfg_pedes")) == [("ICFG-PEDES/imgs/test/0000/1.jpg", 0, ["a man"])]


def test_icfg_has_no_validation_split(tmp_path: Path) -> None:
    (tmp_path / "ICFG-PEDES" / "imgs").mkdir(parents=True)
    write_json(tmp_path / "ICFG-PEDES" / "ICFG-PEDES.json", [cuhk_record("train", 0, "1.jpg", "a man")])
    with pytest.raises(DataError, match=r"^'icfg_pedes': has no val split; it has: train$"):
        load(tmp_path, "icfg_pedes", "val")


def rstp_record(split: str, identity: int) -> dict[str, object]:
    return {
        "id": identity,
        "img_path": f"{identity:04d}_c5_0022.jpg",
        "captions": ["a man", "x"],
        "split": split,
    }


def test_rstpreid_reads_img_path(tmp_path: Path) -> None:
    (tmp_path / "RSTPReid" / "imgs").mkdir(parents=True)
    write_json(tmp_path / "RSTPReid" / "data_captions.json", [rstp_record("test", 3901)])
    assert list_rows(load(tmp_path, "rstpreid", "test")) == [
        ("RSTPReid/imgs/3901_c5_0022.jpg", 3901, ["a man", "x"])
    ]


def write_faulty_rstp(root: Path) -> None:
    (root / "RSTPReid" / "imgs").mkdir(parents=True)
    splits = ["train"] * 3901 + ["val"] * 100 + ["test"] * 100
    records = [rstp_record(split, identity) for identity, split in enumerate(splits)]
    write_json(root / "RSTPReid" / "data_captions.json", records)


def test_the_faulty_rstpreid_release_is_announced_at_every_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_faulty_rstp(tmp_path)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load(tmp_path, "rstpreid")
        assert "faulty first release with 3901/100/100" in caplog.text


def test_the_faulty_rstpreid_release_can_be_cut_by_published_ranges(tmp_path: Path) -> None:
    write_faulty_rstp(tmp_path)
    published, data = choose("rstpreid", split="published"), make_options(tmp_path)
    sizes = [load_split(published, split, data).identity_count for split in ("train", "val", "test")]
    assert sizes == [3701, 200, 200]


def test_published_ranges_cut_the_whole_rstpreid_alone(tmp_path: Path) -> None:
    (tmp_path / "RSTPReid" / "imgs").mkdir(parents=True)
    records = [rstp_record("train", identity) for identity in range(1, 4102)]
    path = write_json(tmp_path / "RSTPReid" / "data_captions.json", records)
    with pytest.raises(DataError) as caught:
        load_split(choose("rstpreid", split="published"), "train", make_options(tmp_path))
    assert str(caught.value) == (
        f"'rstpreid': {path}: `split: published` cuts a file of the identities 0..4100, found 4,101 from 1 "
        "to 4101; fetch the whole file or set `split: file`"
    )


def test_missing_folder_file_and_images_are_named_with_what_was_expected(tmp_path: Path) -> None:
    expected = (
        f"Expected: CUHK-PEDES/{{imgs/, reid_raw.json or caption_all.json}} under data.root='{tmp_path}'. "
        "Run `tpr data check` to check all datasets."
    )

    def message() -> str:
        with pytest.raises(DataError) as caught:
            load(tmp_path, "cuhk_pedes")
        return str(caught.value)

    assert message() == f"'cuhk_pedes': {tmp_path}/CUHK-PEDES not found. {expected}"
    (tmp_path / "CUHK-PEDES").mkdir()
    assert message() == f"'cuhk_pedes': {tmp_path}/CUHK-PEDES/reid_raw.json not found. {expected}"
    write_json(tmp_path / "CUHK-PEDES" / "reid_raw.json", [cuhk_record("train", 1, "x", "y")])
    assert message() == f"'cuhk_pedes': {tmp_path}/CUHK-PEDES/imgs not found. {expected}"


def test_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder; set data.root or the environment variable TPR_DATA"):
        load(tmp_path / "nowhere", "cuhk_pedes")


def test_published_counts_add_up() -> None:
    totals = {}
    for name in ("cuhk_pedes", "icfg_pedes", "rstpreid"):
        splits = ADAPTERS[name].counts.values()
        totals[name] = [sum(getattr(s, key) for s in splits) for key in ("identities", "images", "captions")]
    assert totals == {
        "cuhk_pedes": [13_003, 40_206, 80_440],
        "icfg_pedes": [4_102, 54_522, 54_522],
        "rstpreid": [4_101, 20_505, 41_010],
    }
