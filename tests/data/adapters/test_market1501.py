import re
from pathlib import Path

import numpy as np
import pytest

from tests.data.small_sets import choose, load, make_options, write_image
from tpr.data.tables.corpora import load_split
from tpr.data.tables.pack import pack_set
from tpr.errors import DataError

TRAIN = ["0007_c1s1_000151_01.jpg", "0002_c6s4_000451_03.jpg", "0002_c1s1_000451_03.jpg"]
QUERY = ["0005_c1s1_000151_00.jpg", "1501_c3s3_063744_00.jpg"]
GALLERY = [
    "-1_c1s1_000401_03.jpg",
    "0000_c2s1_000151_01.jpg",
    "0005_c2s1_000151_01.jpg",
    "1501_c12s3_063744_01.jpg",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "Market-1501-v15.09.15"
    for part, names in (("bounding_box_train", TRAIN), ("query", QUERY), ("bounding_box_test", GALLERY)):
        for number, name in enumerate(names):
            write_image(folder / part / name, number)
        (folder / part / "Thumbs.db").write_bytes(b"x")
    return tmp_path / "data"


def test_names_tell_person_and_camera_and_folders_the_role(root: Path) -> None:
    train, test = load(root, "market1501"), load(root, "market1501", "test")
    assert [Path(train.image_path(row)).name for row in range(3)] == sorted(TRAIN)
    assert (train.identity.tolist(), train.cameras().tolist(), train.roles()) == ([0, 0, 1], [1, 6, 1], None)
    roles = test.roles()
    assert roles is not None and roles.tolist() == ["query", "query", "gallery", "gallery", "gallery"]
    assert test.identity.tolist() == [5, 1501, 0, 5, 1501]
    assert test.cameras().tolist() == [1, 3, 2, 2, 12]
    assert (test.caption_count, test.task.protocol) == (0, "image")


def test_junk_is_counted_in_the_log(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        load(root, "market1501", "test")
    assert any("1 junk images (person -1) are left out, as published" in line for line in caplog.messages)


def test_distractors_are_gallery_of_an_unknown_camera(root: Path) -> None:
    write_image(root / "Market-1501-v15.09.15" / "images" / "000001.jpg")
    test = load(root, "market1501", "test", distractors=True)
    roles = test.roles()
    assert roles is not None
    assert (test.identity[-1], test.cameras()[-1], roles[-1], len(test)) == (0, -1, "gallery", 6)


def test_a_new_image_is_seen(root: Path) -> None:
    assert len(load(root, "market1501", "test")) == 5
    write_image(root / "Market-1501-v15.09.15" / "query" / "0005_c3s1_000151_00.jpg")
    assert len(load(root, "market1501", "test")) == 6


def test_a_packed_set_keeps_its_roles(root: Path) -> None:
    loose = load(root, "market1501", "test")
    pack_set(choose("market1501"), make_options(root), root)
    packed = load(root, "market1501", "test")
    roles, wanted = packed.roles(), loose.roles()
    assert packed.table.num_columns == loose.table.num_columns + 2
    assert roles is not None and wanted is not None and np.array_equal(roles, wanted)


@pytest.mark.parametrize("name", ["a.jpg", "0005_c1_f0044158.jpg", "-2_c1s1_000401_03.jpg"])
def test_a_name_of_another_form_is_refused(root: Path, name: str) -> None:
    path = write_image(root / "Market-1501-v15.09.15" / "query" / name)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: expected a name such as 0002_c1s1"):
        load_split(choose("market1501"), "test", make_options(root))


def test_a_missing_folder_is_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"Market-1501-v15\.09\.15/images not found"):
        load(root, "market1501", "test", distractors=True)
