"""What a training sample is: numbers, rows, captions, neighbours, labels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.small_corpus import SIZE, make_corpus, make_data
from tpr.config.schema import AugmentOptions
from tpr.data import tokenize
from tpr.data.images.chains import CLIP_CHAIN
from tpr.data.images.reader import decode
from tpr.data.samples.views import TrainingSamples, Views
from tpr.errors import DataError

CAPTIONS = [2, 0, 1, 3]  # caption numbers 0 1 | - | 2 | 3 4 5


def make_samples(folder: Path, views: Views = Views(), **options: object) -> TrainingSamples:  # noqa: B008
    return TrainingSamples(make_corpus(folder, CAPTIONS), make_data(folder, **options), views, seed=1)


def test_pairs_are_numbered_by_caption(tmp_path: Path) -> None:
    samples = make_samples(tmp_path)
    assert len(samples) == 6
    assert samples.find_rows(np.arange(6)).tolist() == [0, 0, 2, 3, 3, 3]
    assert samples.list_identities().tolist() == [0, 0, 1, 1, 1, 1]
    assert samples.find_numbers(np.array([3, 1])).tolist() == [3, 1]


def test_images_without_captions_are_no_samples(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, unit="image", captions_per_image=2)
    assert len(samples) == 3
    assert samples.find_numbers(np.arange(3)).tolist() == [0, 2, 3]
    assert samples.list_identities().tolist() == [0, 1, 1]
    alone = make_samples(tmp_path, Views(tokens=False), unit="image")
    assert len(alone) == 4
    assert alone.find_numbers(np.array([1])).tolist() == [1]


def test_a_pair_holds_its_caption_and_its_owner(tmp_path: Path) -> None:
    entries, skipped = make_samples(tmp_path).read(np.array([4, 2, 3]), 1)
    assert not skipped
    assert entries["sample_index"].tolist() == [4, 2, 3]
    assert entries["caption_index"].tolist() == [4, 2, 3]
    assert entries["image_index"].tolist() == [3, 2, 3]
    assert entries["identity"].tolist() == [1, 1, 1]
    assert entries["text_identity"].tolist() == [1, 1, 1]
    assert entries["owner"].tolist() == [0, 1, 2]
    captions = ["image 3 caption 1", "image 2 caption 0", "image 3 caption 0"]
    assert entries["tokens"].tolist() == tokenize(captions, 12).tolist()
    assert entries["longest_caption"] == 6
    assert entries["images"].shape == (3, 3, *SIZE)
    assert entries["images"].dtype == torch.uint8


def test_pixels_are_the_resized_image_without_augmentation(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, augment=AugmentOptions(flip=0, pad=0))
    entries, _ = samples.read(np.array([2]), 1)
    assert torch.equal(
        entries["images"][0], CLIP_CHAIN.resize(decode((tmp_path / "2.jpg").read_bytes()), SIZE)
    )
    mirrored = make_samples(tmp_path, augment=AugmentOptions(flip=1, pad=0)).read(np.array([2]), 1)
    assert torch.equal(mirrored[0]["images"].flip(3), entries["images"])


def test_the_plain_image_is_resized_only(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, Views(plain=True), augment=AugmentOptions(flip=1, pad=4))
    entries, _ = samples.read(np.array([2, 0]), 1)
    for pixels, name in zip(entries["plain_images"], ("2.jpg", "0.jpg"), strict=True):
        assert torch.equal(pixels, CLIP_CHAIN.resize(decode((tmp_path / name).read_bytes()), SIZE))
    augmented, _ = make_samples(tmp_path, augment=AugmentOptions(flip=1, pad=4)).read(np.array([2, 0]), 1)
    assert torch.equal(entries["images"], augmented["images"])
    assert "plain_images" not in augmented


def test_an_image_draws_distinct_captions_and_repeats_only_what_it_must(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, unit="image", captions_per_image=2)
    seen = set()
    for epoch in range(1, 60):
        entries = samples.describe(np.array([3, 2, 0]), epoch)
        drawn = entries["caption_index"].reshape(3, 2).tolist()
        assert set(drawn[0]) < {3, 4, 5}
        assert len(set(drawn[0])) == 2
        assert drawn[1] == [2, 2]
        assert sorted(drawn[2]) == [0, 1]
        seen.add(tuple(drawn[0]))
        assert entries["owner"].tolist() == [0, 0, 1, 1, 2, 2]
        assert entries["text_identity"].tolist() == [1, 1, 1, 1, 0, 0]
    assert len(seen) == 6
    assert (
        samples.describe(np.array([3]), 5)["caption_index"].tolist()
        == (samples.describe(np.array([0, 3]), 5)["caption_index"].tolist()[2:])
    )


def test_attributes_are_filled_with_unknown(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, Views(image=False, attributes=True))
    entries, _ = samples.read(np.array([0, 2, 3]), 1)
    assert entries["attributes"].tolist() == [[-1, -1, -1], [0, -1, 1], [1, -1, 1]]
    assert "images" not in entries


def test_only_what_a_system_asks_for_is_made(tmp_path: Path) -> None:
    entries, _ = make_samples(tmp_path, Views(tokens=False)).read(np.array([0]), 1)
    assert sorted(entries) == ["identity", "image_index", "images", "sample_index"]
    assert not (tmp_path / "cache").exists()


def test_neighbours_belong_to_another_image(tmp_path: Path) -> None:
    pairs = make_samples(tmp_path)
    assert [pairs.find_neighbour(sample) for sample in range(6)] == [2, 2, 3, 0, 0, 0]
    images = make_samples(tmp_path, unit="image")
    assert [images.find_neighbour(sample) for sample in (0, 2, 3)] == [2, 3, 0]
    alone = make_samples(tmp_path, Views(tokens=False), unit="image")
    assert [alone.find_neighbour(sample) for sample in range(4)] == [1, 2, 3, 0]


def test_a_bad_image_stops_with_set_file_and_remedy(tmp_path: Path) -> None:
    samples = make_samples(tmp_path)
    (tmp_path / "2.jpg").write_bytes(b"")
    message = r"small_set: .*/2.jpg is empty \(0 bytes\); mend or remove it, or set data.on_bad_image=skip"
    with pytest.raises(DataError, match=message):
        samples.read(np.array([0, 2]), 1)


def test_a_bad_image_may_be_replaced_by_its_neighbour(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, on_bad_image="skip")
    (tmp_path / "2.jpg").unlink()
    wanted = np.array([0, 2])
    entries, skipped = samples.read(wanted, 1)
    assert wanted.tolist() == [0, 2]
    expected, _ = samples.read(np.array([0, 3]), 1)
    for name, value in expected.items():
        assert np.array_equal(entries[name], value), name
    assert len(skipped) == 1
    assert "2.jpg cannot be read (No such file or directory)" in skipped[0]


def test_replacing_ends_when_nothing_can_be_read(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, on_bad_image="skip")
    for path in tmp_path.glob("*.jpg"):
        path.write_bytes(b"no")
    with pytest.raises(DataError, match="so are the 9 images before it: mend the dataset"):
        samples.read(np.array([0]), 1)


def test_an_image_that_fails_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = make_samples(tmp_path)
    good = samples.images._read
    calls: list[int] = []

    def fail_once(row: int) -> torch.Tensor:
        calls.append(row)
        if len(calls) == 1:
            raise DataError("hiccup")
        return good(row)

    monkeypatch.setattr(samples.images, "_read", fail_once)
    assert samples.images.read(0).shape == (3, *SIZE)
    assert calls == [0, 0]


def test_missing_captions_and_attributes_are_named(tmp_path: Path) -> None:
    bare = make_corpus(tmp_path, [0])
    with pytest.raises(DataError, match="small_set has no captions to train on"):
        TrainingSamples(bare, make_data(tmp_path), Views(), seed=1)
    with pytest.raises(DataError, match="small_set has no attributes, which the system needs"):
        TrainingSamples(bare, make_data(tmp_path, unit="image"), Views(tokens=False, attributes=True), seed=1)
