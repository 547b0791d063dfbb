"""CUHK-PEDES, ICFG-PEDES and RSTPReid in every published form."""

import logging
from pathlib import Path

import pytest

from tests.data.small_sets import choose, cuhk_record, list_rows, load, make_options, write_cuhk, write_json
from tpr.data.adapters import ADAPTERS
from tpr.data.corpora import load_split
from tpr.errors import DataError


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


def test_cuhk_caption_all_without_split_is_cut_by_the_published_ranges(tmp_path: Path) -> None:
    (tmp_path / "CUHK-PEDES" / "imgs").mkdir(parents=True)
    ids = {"a.jpg": 1, "b.jpg": 11_003, "c.jpg": 11_004, "d.jpg": 12_003, "e.jpg": 12_004, "f.jpg": 13_003}
    records = [cuhk_record(None, identity, name, "a person") for name, identity in ids.items()]
    write_json(tmp_path / "CUHK-PEDES" / "caption_all.json", records)
    found = {split: len(load(tmp_path, "cuhk_pedes", split)) for split in ("train", "val", "test")}
    assert found == {"train": 2, "val": 2, "test": 2}
    assert load(tmp_path, "cuhk_pedes", "test").identity.tolist() == [12_004, 13_003]


def test_reid_raw_wins_over_caption_all(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    write_json(tmp_path / "CUHK-PEDES" / "caption_all.json", [cuhk_record(None, 1, "x.jpg", "other")])
    assert len(load(tmp_path, "cuhk_pedes", "train")) == 3


def test_split_names_are_lower_cased_and_all_but_train_and_test_is_validation(tmp_path: Path) -> None:
    names = ["Train", "TEST", "valid", "val"]
    write_cuhk(tmp_path, [cuhk_record(name, n, f"{n}.jpg", "x") for n, name in enumerate(names)])
    assert len(load(tmp_path, "cuhk_pedes", "train")) == len(load(tmp_path, "cuhk_pedes", "test")) == 1
    assert load(tmp_path, "cuhk_pedes", "val").identity.tolist() == [2, 3]


def test_a_path_that_begins_with_imgs_is_found_too(tmp_path: Path) -> None:
    write_cuhk(tmp_path, [cuhk_record("test", 1, "imgs/cam_a/1.jpg", "x")], pictures=False)
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


def test_missing_folder_file_and_pictures_are_named_with_what_was_expected(tmp_path: Path) -> None:
    expected = (
        f"Expected: CUHK-PEDES/{{imgs/, reid_raw.json or caption_all.json}} under data.root='{tmp_path}'. "
        "Run `tpr data check` to check all sets."
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
