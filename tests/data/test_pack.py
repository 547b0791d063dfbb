import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.data.small_sets import (
    choose,
    flip_bit,
    list_rows,
    load,
    make_options,
    write_cuhk,
    write_image,
    write_jsonl,
)
from tpr.config.evaluation import EvaluationOptions
from tpr.data.images.chains import CLIP_CHAIN
from tpr.data.images.reader import read_bytes
from tpr.data.samples.views import ImageReader
from tpr.data.tables.check import check_sets
from tpr.data.tables.checksums import read_sealed, write_sealed
from tpr.data.tables.corpora import load_corpora
from tpr.data.tables.corpus import Corpus, map_files
from tpr.data.tables.manifest import MANIFEST
from tpr.data.tables.pack import pack_set
from tpr.errors import BusyError, DataError
from tpr.locks import hold_folder


def write_many(root: Path, images: int = 40) -> None:
    """A set of one's own with an image per line, some much larger than others."""
    lines = [{"image": f"{n}.jpg", "identity": n // 2, "caption": f"person {n}"} for n in range(images)]
    write_jsonl(root / "mine" / "people.jsonl", lines)
    for n in range(images):
        path = write_image(root / "mine" / f"{n}.jpg", shade=n)
        path.write_bytes(path.read_bytes() + bytes(range(256)) * (n % 5))


def test_a_packed_set_is_the_same_corpus_with_the_files_bytes(tmp_path: Path) -> None:
    write_cuhk(tmp_path / "data")
    loose = {split: load(tmp_path / "data", "cuhk_pedes", split) for split in ("train", "val", "test")}
    done = pack_set(choose("cuhk_pedes"), make_options(tmp_path / "data"), tmp_path / "fast")
    assert (done.folder, done.images, done.files) == (tmp_path / "fast/CUHK-PEDES/packed", 5, 3)
    for split, expected in loose.items():
        packed = load(tmp_path / "fast", "cuhk_pedes", split)
        assert list_rows(packed) == list_rows(expected)
        assert packed.table.drop(["picture", "checksum"]).equals(expected.table)
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


def test_an_image_larger_than_the_limit_gets_a_file_of_its_own(tmp_path: Path) -> None:
    write_many(tmp_path, images=3)
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


def test_holding_identities_out_of_a_packed_set_copies_no_image(tmp_path: Path) -> None:
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
    assert len(load(tmp_path, "jsonl", path=Path("mine"), on_missing_image="skip")) == 40
    with pytest.raises(DataError) as caught:
        load(tmp_path, "jsonl", path=Path("mine"), images=5)
    assert str(caught.value) == (
        f"'mine': {tmp_path}/mine/packed: packed with images=None, asked for images=5; "
        "pack again or move this folder away"
    )


def test_a_set_packed_before_an_option_was_known_is_read_without_it(tmp_path: Path) -> None:
    folder = pack_few(tmp_path)
    manifest = read_sealed(folder / MANIFEST)
    del manifest["options"]["attributes"]
    write_sealed(folder / MANIFEST, manifest)
    assert len(load(tmp_path, "jsonl", path=Path("mine"))) == 4
    with pytest.raises(DataError, match=r"with attributes=None, asked for attributes={'hat': \['cap'\]}"):
        load(tmp_path, "jsonl", path=Path("mine"), attributes={"hat": ("cap",)})


def test_a_damaged_packed_set_is_named(tmp_path: Path) -> None:
    write_many(tmp_path)
    done = pack_set(choose("jsonl", path=Path("mine")), make_options(tmp_path), tmp_path)
    shard = done.folder / "train-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DataError) as caught:
        load(tmp_path, "jsonl", path=Path("mine"))
    assert str(caught.value).startswith(f"'mine': {shard}: is damaged (1,000 bytes, expected ")
    assert str(caught.value).endswith("); pack the dataset again")


def test_a_packed_set_with_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    manifest = pack_few(tmp_path) / MANIFEST
    whole = manifest.read_text()
    for content, problem in (
        (whole.replace('"rows": 4', '"rows": 3'), "is damaged (it does not match its checksum)"),
        (whole[:100], "cannot be read ("),
        ("[]", "cannot be read ("),
    ):
        manifest.write_text(content)
        with pytest.raises(DataError) as caught:
            load(tmp_path, "jsonl", path=Path("mine"))
        assert str(caught.value).startswith(f"'mine': {manifest}: {problem}")
        assert str(caught.value).endswith("; pack the dataset again")


def test_a_packed_set_without_its_manifest_is_not_read_from_loose_images(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    folder = pack_set(choose("cuhk_pedes"), make_options(tmp_path), tmp_path).folder
    (folder / MANIFEST).unlink()
    with pytest.raises(DataError) as caught:
        load(tmp_path, "cuhk_pedes")
    assert str(caught.value) == (
        f"'cuhk_pedes': {folder}: holds Arrow files without their {MANIFEST}; put it back, pack the dataset "
        "again, or move this folder away to read loose images"
    )
    for path in folder.iterdir():
        path.unlink()
    assert len(load(tmp_path, "cuhk_pedes")) == 3, "a folder of this name may be anything else"


def pack_few(root: Path) -> Path:
    """The packed folder of four images; the loose ones are gone."""
    write_many(root, images=4)
    done = pack_set(choose("jsonl", path=Path("mine")), make_options(root), root, shard_bytes=6_000)
    for path in (root / "mine").glob("*.jpg"):
        path.unlink()
    return done.folder


def damage_image(folder: Path, content: bytes) -> tuple[Path, int]:
    """Flip a bit within this image's bytes; returns shard and row."""
    for shard in sorted(folder.glob("*.arrow")):
        images = pa.ipc.open_file(pa.OSFile(str(shard))).read_all().column("picture").to_pylist()
        if content in images:
            stored = bytearray(shard.read_bytes())
            stored[stored.index(content) + len(content) // 2] ^= 4
            shard.unlink()
            shard.write_bytes(stored)
            return shard, images.index(content)
    raise AssertionError("no shard holds the image")


def test_a_flipped_bit_in_an_image_names_shard_row_and_image(tmp_path: Path) -> None:
    write_many(tmp_path, images=4)
    original = (tmp_path / "mine" / "2.jpg").read_bytes()
    shard, row = damage_image(pack_few(tmp_path), original)
    packed = load(tmp_path, "jsonl", path=Path("mine"))
    data = make_options(tmp_path)
    expected = (
        f"mine: {tmp_path}/mine/2.jpg is damaged (it does not match its checksum in {shard}, row {row}); "
        "pack the dataset again"
    )
    for corpus, place in ((packed, 2), (packed.select(np.array([3, 2])), 1)):
        with pytest.raises(DataError) as caught:
            ImageReader(corpus, data, CLIP_CHAIN).read(place)
        assert str(caught.value) == expected
        ImageReader(corpus, data, CLIP_CHAIN).read(0)
    report = check_sets([choose("jsonl", path=Path("mine"))], data)
    assert [image for image, _ in report.splits[0].unreadable] == ["mine/2.jpg"]
    assert report.is_broken


def test_a_damaged_image_stops_a_run_or_is_replaced_as_the_option_says(tmp_path: Path) -> None:
    write_many(tmp_path, images=4)
    original = (tmp_path / "mine" / "2.jpg").read_bytes()
    damage_image(pack_few(tmp_path), original)
    packed = load(tmp_path, "jsonl", path=Path("mine"))
    skipped: list[str] = []
    step = (lambda sample: sample, lambda sample: sample + 1, skipped)
    with pytest.raises(DataError, match=r"2\.jpg is damaged .*set data.on_bad_image=skip"):
        ImageReader(packed, make_options(tmp_path), CLIP_CHAIN).read_or_replace(2, *step)
    skip = make_options(tmp_path, on_bad_image="skip")
    assert ImageReader(packed, skip, CLIP_CHAIN).read_or_replace(2, *step)[1] == 3
    assert len(skipped) == 1 and "2.jpg is damaged" in skipped[0]


def test_a_flipped_bit_anywhere_in_a_packed_set_is_named_or_changes_nothing(tmp_path: Path) -> None:
    folder = pack_few(tmp_path)
    packed = load(tmp_path, "jsonl", path=Path("mine"))
    rows, images = list_rows(packed), [read_bytes(packed, row) for row in range(4)]
    random = np.random.default_rng(1)
    files = sorted(folder.iterdir())
    named = 0
    for _ in range(100):
        path = files[random.integers(len(files))]
        sound = path.read_bytes()
        flip_bit(path, random)
        try:
            found = load(tmp_path, "jsonl", path=Path("mine"))
            assert list_rows(found) == rows
            assert [read_bytes(found, row) for row in range(4)] == images
        except DataError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
            named += 1
        path.write_bytes(sound)
    assert named > 80


def as_older_format(folder: Path) -> None:
    """Rewrite a packed folder as the first format was: no checksum anywhere."""
    manifest = read_sealed(folder / MANIFEST)
    for known in manifest["splits"].values():
        known.pop("checksums")
        for name in known["files"]:
            table = map_files([folder / name]).drop(["checksum"]).combine_chunks()
            (folder / name).unlink()
            with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": 1}))


def test_a_set_packed_without_checksums_is_read_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pack_few(tmp_path)
    packed = load(tmp_path, "jsonl", path=Path("mine"))
    rows, images = list_rows(packed), [read_bytes(packed, row) for row in range(4)]
    as_older_format(folder)
    with caplog.at_level(logging.INFO):
        older = load(tmp_path, "jsonl", path=Path("mine"))
    assert list_rows(older) == rows
    assert [read_bytes(older, row) for row in range(4)] == images
    assert "mine: packed by an older version, without checksums" in caplog.text


def test_flipped_bits_of_a_set_without_checksums_end_no_process(tmp_path: Path) -> None:
    folder = pack_few(tmp_path)
    as_older_format(folder)
    random = np.random.default_rng(3)
    files = sorted(folder.iterdir())
    for _ in range(100):
        path = files[random.integers(len(files))]
        sound = path.read_bytes()
        flip_bit(path, random)
        try:
            found = load(tmp_path, "jsonl", path=Path("mine"))
            list_rows(found)
            for row in range(len(found)):
                read_bytes(found, row)
        except DataError as error:
            assert "\n" not in str(error)
        path.write_bytes(sound)


@pytest.mark.parametrize("damage", ["null", "column", "identity", "offset"])
def test_a_set_without_checksums_whose_parts_do_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    folder = pack_few(tmp_path)
    as_older_format(folder)
    shard = folder / "train-00000.arrow"
    table = map_files([shard])
    if damage == "null":
        captions = pa.array([None] * table.num_rows, table.schema.field("captions").type)
        table = table.set_column(4, "captions", captions)
    elif damage == "column":
        table = table.rename_columns(["picture", *table.column_names[1:-1], "image"])
    else:
        path = folder / ("train.identity.npy" if damage == "identity" else "train.offsets.npy")
        array = np.load(path)
        array[1] += 2**40
        np.save(path, array)
    shard.unlink()
    with pa.OSFile(str(shard), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match=f"^'mine': {folder}: the .*; pack the dataset again$"):
        load(tmp_path, "jsonl", path=Path("mine"))


def test_a_packed_set_with_checksums_joins_an_older_one(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    pack_set(choose("cuhk_pedes"), make_options(tmp_path), tmp_path)
    as_older_format(pack_few(tmp_path))
    train = (choose("jsonl", path=Path("mine")), choose("cuhk_pedes"))
    joined = load_corpora(make_options(tmp_path, train=train), EvaluationOptions(select_on="last"), seed=1)
    assert joined.train is not None
    for row in range(len(joined.train)):
        ImageReader(joined.train, make_options(tmp_path), CLIP_CHAIN).read(row)


def test_loaders_that_map_the_files_again_verify_images(tmp_path: Path) -> None:
    write_many(tmp_path, images=4)
    original = (tmp_path / "mine" / "2.jpg").read_bytes()
    folder = pack_few(tmp_path)
    sent = pickle.dumps(load(tmp_path, "jsonl", path=Path("mine")).select(np.array([3, 2, 0])))
    damage_image(folder, original)
    received: Corpus = pickle.loads(sent)
    with pytest.raises(DataError, match="is damaged"):
        read_bytes(received, 1)
    assert read_bytes(received, 2)


def test_two_processes_do_not_pack_into_one_folder(tmp_path: Path) -> None:
    write_many(tmp_path, images=4)
    (tmp_path / "mine" / ".packed-killed").mkdir()
    mine, data = choose("jsonl", path=Path("mine")), make_options(tmp_path)
    with (
        hold_folder(tmp_path / "mine"),
        pytest.raises(BusyError, match=f"^{tmp_path}/mine: another process is at work there"),
    ):
        pack_set(mine, data, tmp_path)
    pack_set(mine, data, tmp_path)
    assert not (tmp_path / "mine" / ".packed-killed").exists()
    assert len(load(tmp_path, "jsonl", path=Path("mine"))) == 4, "the lock file is no data"


def test_a_missing_image_stops_packing_and_leaves_nothing(tmp_path: Path) -> None:
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
