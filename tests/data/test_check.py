from pathlib import Path

import pytest

from tests.data.small_sets import choose, cuhk_record, make_options, write_cuhk, write_image, write_json
from tpr.data.adapters import Counts
from tpr.data.tables.check import CheckReport, SplitReport, check_sets, choose_sets, counts_agree
from tpr.data.tables.pack import pack_set
from tpr.errors import DataError


def check(root: Path, *names: str, decodes: bool = True) -> CheckReport:
    return check_sets(choose_sets(root, names), make_options(root), decodes=decodes)


def find(report: CheckReport, split: str, name: str = "cuhk_pedes") -> SplitReport:
    return next(part for part in report.splits if (part.name, part.split) == (name, split))


def test_sound_data_of_another_size_is_a_warning_not_an_error(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    report = check(tmp_path)
    assert [(part.split, part.found) for part in report.splits] == [
        ("train", Counts(2, 3, 5)),
        ("val", Counts(1, 1, 1)),
        ("test", Counts(1, 1, 2)),
    ]
    assert find(report, "train").published == Counts(11_003, 34_054, 68_126)
    assert {part.verdict for part in report.splits} == {"counts differ"}
    assert not report.is_broken


def test_published_counts_are_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cuhk(tmp_path)
    from tpr.data.adapters.cuhk_pedes import CuhkPedes

    counts = {"train": Counts(2, 3, 5), "val": Counts(1, 1, 1), "test": Counts(1, 1, 2)}
    monkeypatch.setattr(CuhkPedes, "counts", counts)
    assert {part.verdict for part in check(tmp_path).splits} == {"ok"}


@pytest.mark.parametrize(
    ("found", "agrees"),
    [(Counts(None, 1000, 1), True), (Counts(None, 991, 1), True), (Counts(None, 980, 1), False)],
)
def test_figures_that_are_not_exact_agree_within_a_hundredth(found: Counts, agrees: bool) -> None:
    assert counts_agree(found, Counts(None, 1000, None, exact=False)) is agrees
    assert counts_agree(found, Counts(None, 1000, None)) is (found.images == 1000)


@pytest.mark.parametrize("decodes", [True, False])
def test_a_damaged_image_of_a_packed_set_is_listed_whatever_it_is_compared_with(
    tmp_path: Path, decodes: bool
) -> None:
    write_cuhk(tmp_path)
    images = tmp_path / "CUHK-PEDES" / "imgs"
    same_size = (images / "Market" / "2.jpg").read_bytes()
    (images / "test_query" / "5.jpg").write_bytes(same_size)
    folder = pack_set(choose("cuhk_pedes"), make_options(tmp_path), tmp_path).folder
    shard = folder / "test-00000.arrow"
    content = shard.read_bytes().replace(same_size, same_size[:-3] + b"\0" + same_size[-2:])
    shard.write_bytes(content)
    report = check(tmp_path, decodes=decodes)
    ((image, reason),) = find(report, "test").unreadable
    assert image == "CUHK-PEDES/imgs/test_query/5.jpg"
    assert reason == f"is damaged (it does not match its checksum in {shard}, row 0); pack the dataset again"
    assert not find(report, "train").unreadable and report.is_broken


def test_missing_and_unreadable_images_are_listed(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    images = tmp_path / "CUHK-PEDES" / "imgs"
    (images / "Market" / "2.jpg").unlink()
    (images / "CUHK01" / "3.jpg").write_text("no image")
    (images / "test_query" / "5.jpg").write_bytes(b"")
    report = check(tmp_path)
    train = find(report, "train")
    assert train.missing == ["CUHK-PEDES/imgs/Market/2.jpg"]
    assert [image for image, _ in train.unreadable] == ["CUHK-PEDES/imgs/CUHK01/3.jpg"]
    assert [image for image, _ in find(report, "test").unreadable] == ["CUHK-PEDES/imgs/test_query/5.jpg"]
    assert train.verdict == "broken"
    assert report.is_broken
    assert find(check(tmp_path, decodes=False), "train").unreadable == []


def test_an_identity_of_training_in_the_test_split_is_found(tmp_path: Path) -> None:
    records = [("train", 3), ("train", 8), ("val", 5), ("test", 8), ("test", 9)]
    write_cuhk(tmp_path, [cuhk_record(split, n, f"{split}{n}.jpg", "x") for split, n in records])
    report = check(tmp_path)
    assert find(report, "test").shared_identities == [8]
    assert find(report, "val").shared_identities == []
    assert report.is_broken


def test_identical_images_of_train_and_test_are_found_by_content(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    images = tmp_path / "CUHK-PEDES" / "imgs"
    write_image(images / "test_query" / "5.jpg", shade=1)
    report = check(tmp_path)
    assert find(report, "test").shared_images == {
        "cuhk_pedes": [("CUHK-PEDES/imgs/Market/2.jpg", "CUHK-PEDES/imgs/test_query/5.jpg")]
    }
    assert find(report, "val").shared_images == {}
    assert find(report, "test").verdict == "broken"


def test_images_of_equal_size_and_other_content_are_no_finding(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    images = tmp_path / "CUHK-PEDES" / "imgs"
    same_size = (images / "Market" / "2.jpg").read_bytes()
    (images / "test_query" / "5.jpg").write_bytes(same_size[:-1] + b"\xd8")
    assert find(check(tmp_path, decodes=False), "test").shared_images == {}


def test_test_images_in_another_sets_training_split_are_a_warning(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    write_image(tmp_path / "ICFG-PEDES" / "imgs" / "copy.jpg", shade=4)
    write_json(tmp_path / "ICFG-PEDES" / "ICFG-PEDES.json", [cuhk_record("train", 12, "copy.jpg", "a girl")])
    report = check(tmp_path)
    test = find(report, "test")
    assert test.shared_images == {
        "icfg_pedes": [("ICFG-PEDES/imgs/copy.jpg", "CUHK-PEDES/imgs/test_query/5.jpg")]
    }
    assert (test.shared_identities, test.is_broken) == ([], False)
    assert "icfg_pedes: no test split found" in report.notes


def test_a_set_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    (tmp_path / "RSTPReid" / "imgs").mkdir(parents=True)
    (tmp_path / "RSTPReid" / "data_captions.json").write_text("[]")
    report = check(tmp_path)
    assert len(report.splits) == 3
    assert "the list is empty" in report.failures["rstpreid"]
    assert report.is_broken


def test_a_packed_set_is_checked_like_loose_files(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    images = tmp_path / "CUHK-PEDES" / "imgs"
    write_image(images / "test_query" / "5.jpg", shade=1)
    (images / "CUHK01" / "3.jpg").write_text("no image")
    loose = check(tmp_path)
    pack_set(choose("cuhk_pedes"), make_options(tmp_path), tmp_path / "fast")
    assert check(tmp_path / "fast") == loose


def test_unknown_sets_and_empty_roots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^--sets: 'cuhk' is not known; known: cuhk_pedes, icfg_pedes"):
        choose_sets(tmp_path, ["cuhk"])
    with pytest.raises(DataError, match=r"^--sets: 'jsonl' needs options; check it through a CONFIG"):
        choose_sets(tmp_path, ["jsonl"])
    with pytest.raises(
        DataError, match="no dataset found under data.root=.*; looked for the folders CUHK-PEDES, ICFG"
    ):
        choose_sets(tmp_path)


def test_a_named_set_that_is_not_there_is_broken(tmp_path: Path) -> None:
    report = check(tmp_path, "mals")
    assert "MALS not found" in report.failures["mals"]
