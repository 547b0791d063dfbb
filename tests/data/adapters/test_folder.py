"""A folder of images without an annotation."""

from pathlib import Path

import pytest

from tests.data.small_sets import choose, list_rows, load, write_image
from tpr.data.adapters.folder import read_number
from tpr.errors import ConfigError, DataError

NAMES = ("0007/0003_c1.jpg", "0007/0003_c2.PNG", "9/deep/12_c1.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        write_image(tmp_path / "data" / "crops" / name, number)
    (tmp_path / "data" / "crops" / "0007" / "Thumbs.db").write_bytes(b"x")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("place", "identities"), [("none", [0, 1, 2]), ("folder", [7, 7, 9]), ("name", [3, 3, 12])]
)
def test_every_image_is_read_with_the_identity_that_was_asked_for(root, place, identities):
    corpus = load(root, "folder", "test", path=Path("crops"), identity=place)
    assert list_rows(corpus) == [
        (f"crops/{name}", identity, []) for name, identity in zip(NAMES, identities, strict=True)
    ]
    assert corpus.has_identities is (place != "none")
    assert (corpus.name, corpus.task.protocol, corpus.task.needs_captions) == ("crops", "image", False)


def test_an_image_that_comes_later_is_read(root):
    assert len(load(root, "folder", "test", path=Path("crops"))) == 3
    write_image(root / "crops" / "9" / "deep" / "new.jpg")
    assert len(load(root, "folder", "test", path=Path("crops"))) == 4


def test_the_data_root_itself_may_be_the_folder(root):
    assert len(load(root, "folder", "test", path=Path(), label="all")) == 3


def test_a_folder_that_is_missing_or_outside_is_refused(root):
    with pytest.raises(DataError, match="nowhere not found. Expected: a folder of images"):
        load(root, "folder", "test", path=Path("nowhere"))
    with pytest.raises(ConfigError, match="path must lie below the data root, got '../crops'"):
        choose("folder", path=Path("../crops"))


@pytest.mark.parametrize(
    ("image", "place", "message"),
    [
        ("a/1.jpg", "folder", "identity folder: no folder of 'a/1.jpg' is a number"),
        ("1/a.jpg", "name", "identity name: the name of '1/a.jpg' does not begin with a number"),
        ("9" * 40 + "/1.jpg", "folder", "identity folder: the number of '9{40}/1.jpg' is above"),
    ],
)
def test_an_image_without_a_number_is_named(image, place, message):
    assert read_number(f"{2**63 - 1}/1.jpg", "folder") == 2**63 - 1
    with pytest.raises(DataError, match=message):
        read_number(image, place)
