from pathlib import Path

import pyarrow as pa
import pytest

from tests.data.small_sets import (
    choose,
    list_rows,
    load,
    make_options,
    write_cuhk,
    write_jsonl,
    write_picture,
)
from tpr.config.evaluation import EvaluationOptions
from tpr.data.corpora import load_corpora
from tpr.data.pack import pack_set
from tpr.data.pictures import read_bytes
from tpr.errors import DataError


def write_many(root: Path, pictures: int = 40) -> None:
    """A set of one's own with a picture per line, some much larger than others."""
    lines = [{"image": f"{n}.jpg", "identity": n // 2, "caption": f"person {n}"} for n in range(pictures)]
    write_jsonl(root / "mine" / "people.jsonl", lines)
    for n in range(pictures):
        path = write_picture(root / "mine" / f"{n}.jpg", shade=n)
        path.write_bytes(path.read_bytes() + bytes(range(256)) * (n % 5))


def test_a_packed_set_is_the_same_corpus_with_the_files_bytes(tmp_path: Path) -> None:
    write_cuhk(tmp_path / "data")
    loose = {split: load(tmp_path / "data", "cuhk_pedes", split) for split in ("train", "val", "test")}
    done = pack_set(choose("cuhk_pedes"), make_options(tmp_path / "data"), tmp_path / "fast")
    assert (done.folder, done.pictures, done.files) == (tmp_path / "fast/CUHK-PEDES/packed", 5, 3)
    for split, expected in loose.items():
        packed = load(tmp_path / "fast", "cuhk_pedes", split)
        assert list_rows(packed) == list_rows(expected)
        assert packed.table.drop(["picture"]).equals(expected.table)
        for row in range(len(packed)):
            path = tmp_path / "data" / expected.image_path(row)
            assert read_bytes(packed, row) == path.read_bytes()


def test_shards_stay_below_their_limit_and_give_every_byte_back(tmp_path: Path) -> None:
    write_many(tmp_path)
    mine, data = choose("jsonl", path=Path("mine")), make_options(tmp_path)
    originals = [(tmp_path / "mine" / f"{n}.jpg").read_bytes() for n in range(40)]
    limit = 12_000
    done = pack_set(mine, data, tmp_path, shard_bytes=limit)
    shards = sorted(done.folder.glob("*.arrow"))
    assert len(shards) == done.files > 3
    assert max(path.stat().st_size for path in shards) <= limit
    for path in (tmp_path / "mine").glob("*.jpg"):
        path.unlink()
    packed = load(tmp_path, "jsonl", path=Path("mine"))
    assert [read_bytes(packed, row) for row in range(40)] == originals


def test_a_picture_larger_than_the_limit_gets_a_file_of_its_own(tmp_path: Path) -> None:
    write_many(tmp_path, pictures=3)
    done = pack_set(choose("jsonl", path=Path("mine")), make_options(tmp_path), tmp_path, shard_bytes=10)
    assert done.files == 3


def test_one_shard_holds_the_whole_split_where_it_fits(tmp_path: Path) -> None:
    write_many(tmp_path)
    assert pack_set(choose("jsonl", path=Path("mine")), make_options(tmp_path), tmp_path).files == 1


def test_packed_and_loose_sets_can_be_joined(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    write_many(tmp_path)
    mine = choose("jsonl", path=Path("mine"))
    pack_set(mine, make_options(tmp_path), tmp_path)
    data = make_options(tmp_path, train=(mine, choose("cuhk_pedes")))
    train = load_corpora(data, EvaluationOptions(select_on="last"), seed=1).train
    assert train is not None
    assert train.table.column("picture").null_count == 3


def test_holding_identities_out_of_a_packed_set_copies_no_picture(tmp_path: Path) -> None:
    write_many(tmp_path)
    mine = choose("jsonl", path=Path("mine"))
    pack_set(mine, make_options(tmp_path), tmp_path)
    before = pa.total_allocated_bytes()
    corpora = load_corpora(make_options(tmp_path, train=(mine,)), EvaluationOptions(), seed=1)
    assert corpora.train is not None
    assert (len(corpora.train), len(corpora.val["mine"])) == (36, 4)
    assert pa.total_allocated_bytes() - before < 5_000
    for row in (0, 35):
        path = tmp_path / corpora.train.image_path(row)
        assert read_bytes(corpora.train, row) == path.read_bytes()


def test_a_set_packed_with_other_options_is_refused(tmp_path: Path) -> None:
    write_many(tmp_path)
    pack_set(choose("jsonl", path=Path("mine")), make_options(tmp_path), tmp_path)
    assert len(load(tmp_path, "jsonl", path=Path("mine"), pictures="present")) == 40
    with pytest.raises(DataError) as caught:
        load(tmp_path, "jsonl", path=Path("mine"), images=5)
    assert str(caught.value) == (
        f"'mine': {tmp_path}/mine/packed: packed with images=None, asked for images=5; "
        "pack again or move this folder away"
    )


def test_a_damaged_packed_set_is_named(tmp_path: Path) -> None:
    write_many(tmp_path)
    done = pack_set(choose("jsonl", path=Path("mine")), make_options(tmp_path), tmp_path)
    shard = done.folder / "train-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DataError, match=f"^'mine': {done.folder}: the Arrow files cannot be read"):
        load(tmp_path, "jsonl", path=Path("mine"))


def test_a_missing_picture_stops_packing_and_leaves_nothing(tmp_path: Path) -> None:
    write_many(tmp_path)
    (tmp_path / "mine" / "7.jpg").unlink()
    with pytest.raises(DataError, match=r"^'mine': .*/mine/7.jpg .*`tpr data check` lists all$"):
        pack_set(choose("jsonl", path=Path("mine")), make_options(tmp_path), tmp_path)
    assert not list((tmp_path / "mine").glob("*packed*"))


def test_packing_twice_is_refused(tmp_path: Path) -> None:
    write_many(tmp_path)
    mine, data = choose("jsonl", path=Path("mine")), make_options(tmp_path)
    pack_set(mine, data, tmp_path)
    with pytest.raises(DataError, match="mine/packed exists already; remove it to pack again"):
        pack_set(mine, data, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_many(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\); give another --out"):
        pack_set(choose("jsonl", path=Path("mine")), make_options(tmp_path), tmp_path / "file" / "x")
