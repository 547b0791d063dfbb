from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sets import (
    choose,
    cuhk_record,
    list_rows,
    make_options,
    write_cuhk,
    write_json,
    write_jsonl,
)
from tpr.config.evaluation import EvaluationOptions
from tpr.data.tables.corpora import Corpora, choose_held_out, load_corpora
from tpr.errors import DataError


def write_icfg(root: Path, identities: int = 40, images: int = 3) -> None:
    (root / "ICFG-PEDES" / "imgs").mkdir(parents=True)
    records = [
        cuhk_record("train", 2 * identity, f"{identity}_{number}.jpg", f"a man {identity} {number}")
        for number in range(images)
        for identity in range(identities)
    ]
    write_json(
        root / "ICFG-PEDES" / "ICFG-PEDES.json", [*records, cuhk_record("test", 900, "t.jpg", "a test")]
    )


def load_sets(
    root: Path, train: Sequence[Any], test: Sequence[Any] = (), seed: int = 1, **evaluation: Any
) -> Corpora:
    data = make_options(
        root,
        train=tuple(choose(name) if isinstance(name, str) else name for name in train),
        test=tuple(choose(name) if isinstance(name, str) else name for name in test),
    )
    return load_corpora(data, EvaluationOptions(**evaluation), seed)


def test_a_set_with_a_validation_split_brings_its_own(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    corpora = load_sets(tmp_path, ["cuhk_pedes"], ["cuhk_pedes"])
    assert corpora.train is not None
    assert len(corpora.train) == 3
    assert list_rows(corpora.val["cuhk_pedes"]) == [("CUHK-PEDES/imgs/cam_b/4.jpg", 11, ["a boy"])]
    assert corpora.test["cuhk_pedes"].identity.tolist() == [12]


def test_a_tenth_of_identities_is_held_out_where_there_is_no_validation_split(tmp_path: Path) -> None:
    write_icfg(tmp_path)
    corpora = load_sets(tmp_path, ["icfg_pedes"])
    train, val = corpora.train, corpora.val["icfg_pedes"]
    assert train is not None
    assert (train.identity_count, len(train)) == (36, 108)
    assert (val.identity_count, len(val), val.split) == (4, 12, "val")
    assert train.identity.tolist() == np.unique(train.identity, return_inverse=True)[1].tolist()
    # Identities stay as published in validation: image names tell that they are even.
    assert [
        int(image.split("/")[-1].split("_")[0]) * 2 for image, _, _ in list_rows(val)
    ] == val.identity.tolist()
    assert not {row[0] for row in list_rows(train)} & {row[0] for row in list_rows(val)}


def test_the_seed_decides_who_is_held_out(tmp_path: Path) -> None:
    write_icfg(tmp_path)
    held = [list_rows(load_sets(tmp_path, ["icfg_pedes"], seed=seed).val["icfg_pedes"]) for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize("select_on", ["test", "last"])
def test_nothing_is_held_out_when_validation_picks_nothing(tmp_path: Path, select_on: str) -> None:
    write_icfg(tmp_path)
    corpora = load_sets(tmp_path, ["icfg_pedes"], ["icfg_pedes"], select_on=select_on)
    assert corpora.train is not None
    assert corpora.train.identity_count == 40
    assert corpora.val == {}


def test_the_share_that_is_held_out_is_an_option(tmp_path: Path) -> None:
    write_icfg(tmp_path)
    assert load_sets(tmp_path, ["icfg_pedes"], held_out=0.5).val["icfg_pedes"].identity_count == 20


@pytest.mark.parametrize(
    ("identities", "share", "held"), [(2, 0.1, 1), (40, 0.1, 4), (3, 0.99, 2), (50_000, 0.1, 1_000)]
)
def test_at_least_one_and_at_most_a_thousand_are_held_out(identities: int, share: float, held: int) -> None:
    assert choose_held_out(identities, share, seed=3).sum() == held


def test_held_out_images_of_a_set_without_identities(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine" / "p.jsonl", [{"image": f"{n}.jpg", "caption": f"c{n}"} for n in range(30)])
    corpora = load_sets(tmp_path, [choose("jsonl", path=Path("mine"))])
    assert corpora.train is not None
    assert not corpora.train.has_identities
    assert (len(corpora.train), len(corpora.val["mine"])) == (27, 3)


def test_a_single_identity_cannot_be_held_out(tmp_path: Path) -> None:
    write_icfg(tmp_path, identities=1)
    with pytest.raises(DataError) as caught:
        load_sets(tmp_path, ["icfg_pedes"])
    assert str(caught.value) == (
        "data.train[0] 'icfg_pedes': has a single identity, none can be held out for validation; "
        "set evaluation.select_on to last"
    )


def test_joined_sets_have_identities_that_follow_one_another(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    write_icfg(tmp_path)
    corpora = load_sets(tmp_path, ["icfg_pedes", "cuhk_pedes"])
    assert corpora.train is not None
    assert corpora.train.name == "icfg_pedes+cuhk_pedes"
    assert sorted(set(corpora.train.identity.tolist())) == list(range(36 + 2))
    assert list(corpora.val) == ["icfg_pedes", "cuhk_pedes"]


def test_training_images_without_a_caption_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_cuhk(tmp_path, [cuhk_record("train", n, f"{n}.jpg", *["x"] * (n % 2)) for n in range(8)])
    with caplog.at_level("INFO"):
        corpora = load_sets(tmp_path, ["cuhk_pedes"], select_on="last")
    assert corpora.train is not None
    assert [image for image, _, _ in list_rows(corpora.train)] == [
        f"CUHK-PEDES/imgs/{n}.jpg" for n in (1, 3, 5, 7)
    ]
    assert corpora.train.identity.tolist() == [0, 1, 2, 3]
    assert "cuhk_pedes: 4 images without a caption are left out" in caplog.text


def test_a_split_without_captions_is_refused(tmp_path: Path) -> None:
    write_cuhk(tmp_path, [cuhk_record(split, 1, f"{split}.jpg") for split in ("train", "test")])
    with pytest.raises(
        DataError, match=r"^data.train\[0\] 'cuhk_pedes': no image of the train split has a caption$"
    ):
        load_sets(tmp_path, ["cuhk_pedes"])
    with pytest.raises(
        DataError, match=r"^data.test\[0\] 'cuhk_pedes': no image of the test split has a caption$"
    ):
        load_sets(tmp_path, [], ["cuhk_pedes"])


def test_the_place_in_the_config_begins_the_message(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    with pytest.raises(
        DataError, match=r"^data.train\[1\] 'rstpreid': .*/RSTPReid not found. Expected: RSTPReid/"
    ):
        load_sets(tmp_path, ["cuhk_pedes", "rstpreid"])
    write_icfg(tmp_path)
    write_json(tmp_path / "ICFG-PEDES" / "ICFG-PEDES.json", [cuhk_record("train", 0, "1.jpg", "a man")])
    with pytest.raises(DataError, match=r"^data.test\[1\] 'icfg_pedes': has no test split; it has: train$"):
        load_sets(tmp_path, [], ["cuhk_pedes", "icfg_pedes"])


def test_a_name_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    own = [choose("jsonl", path=Path(path)) for path in ("mine/a.jsonl", "mine/b.jsonl")]
    with pytest.raises(DataError) as caught:
        load_sets(tmp_path, [], own)
    assert str(caught.value) == (
        "data.test[1] 'mine': the name is taken by data.test[0]; name each dataset once "
        "(a jsonl dataset is named by its option `label`)"
    )
