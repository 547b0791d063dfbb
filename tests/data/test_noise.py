"""Exchanged captions: index files and drawn ones, what a slot keeps, and every wrong file as one line."""

import hashlib

import numpy as np
import pytest
import torch

from tests.data.small_corpus import make_corpus, make_data
from tests.data.small_sets import cuhk_record, write_cuhk
from tests.parity.fixtures import read_fixture
from tpr.config.noise import NoiseOptions
from tpr.config.schema import Choice
from tpr.config.typed import build_options
from tpr.data import tokenize
from tpr.data.adapters import ADAPTERS
from tpr.data.samples.noise import draw_noise, find_noise, read_noise
from tpr.data.samples.views import TrainingSamples, Views
from tpr.data.tables.corpora import load_split
from tpr.errors import ConfigError, DataError

PUBLISHED = read_fixture("rde_noise")["files"]
"""RDE's published index files by name."""
CAPTIONS = [2, 0, 1, 3]  # caption numbers 0 1 | - | 2 | 3 4 5
INDEX = [0, 3, 5, 1, 4, 2]
TEXTS = [
    "image 0 caption 0", "image 0 caption 1", "image 2 caption 0",
    "image 3 caption 0", "image 3 caption 1", "image 3 caption 2",
]  # fmt: skip


def save(folder, values, name="small_0.2.npy"):
    np.save(folder / name, np.array(values))
    return folder / name


def make_samples(folder, noise, **options):
    data = make_data(folder, noise=noise, **options)
    return TrainingSamples(make_corpus(folder, CAPTIONS), data, Views(), seed=1)


def test_a_slot_keeps_its_image_and_identity_and_takes_other_words(tmp_path):
    path = save(tmp_path, INDEX)
    plain = make_samples(tmp_path, NoiseOptions()).describe(np.arange(6), 1)
    noisy = make_samples(tmp_path, NoiseOptions(file=path)).describe(np.arange(6), 1)
    for name in ("identity", "text_identity", "sample_index", "image_index", "owner", "caption_index"):
        assert noisy[name].tolist() == plain[name].tolist()
    assert noisy["tokens"].tolist() == tokenize([TEXTS[number] for number in INDEX], 12).tolist()
    assert noisy["caption_index"].tolist() == list(range(6))


def test_images_with_several_captions_take_other_words_as_well(tmp_path):
    samples = make_samples(
        tmp_path, NoiseOptions(file=save(tmp_path, INDEX)), unit="image", captions_per_image=3
    )
    entries = samples.describe(np.array([3]), 1)
    slots = entries["caption_index"].tolist()
    assert sorted(slots) == [3, 4, 5]
    assert entries["tokens"].tolist() == tokenize([TEXTS[INDEX[slot]] for slot in slots], 12).tolist()


def test_a_long_caption_is_counted_where_it_goes(tmp_path, monkeypatch):
    samples = make_samples(tmp_path, NoiseOptions(file=save(tmp_path, INDEX)))
    monkeypatch.setattr(
        type(samples.tokens), "find_longest", lambda table, captions, length: captions.tolist()
    )
    assert samples.describe(np.array([1, 2]), 1)["longest_caption"] == [3, 5]


def test_a_drawn_exchange_moves_about_its_rate_and_follows_its_seed():
    index = draw_noise(10_000, 0.2, 1)
    assert sorted(index.tolist()) == list(range(10_000))
    moved = (index != np.arange(10_000)).sum()
    assert 1_980 <= moved <= 2_000  # int(rate x n), less those that were put back
    assert not np.array_equal(index, draw_noise(10_000, 0.2, 2))
    assert np.array_equal(index, draw_noise(10_000, 0.2, 1))
    state = np.random.get_state()[1].copy()
    draw_noise(10, 0.5, 3)
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("name", PUBLISHED)
def test_seed_1_draws_the_published_index_files(name):
    """The hashes are those of the nine published files; the draw is the default of `data.noise.seed`."""
    known = PUBLISHED[name]
    index = draw_noise(known["captions"], known["rate"], NoiseOptions().seed)
    assert index[:5].tolist() == known["first"]
    assert int((index != np.arange(len(index))).sum()) == known["moved"]
    assert hashlib.sha256(index.astype("<i8").tobytes()).hexdigest() == known["sha256_int64_little_endian"]


def test_options_choose_between_nothing_a_rate_and_a_file(tmp_path):
    corpus = make_corpus(tmp_path, CAPTIONS)
    assert find_noise(NoiseOptions(), corpus) is None
    assert find_noise(NoiseOptions(rate=0.5, seed=3), corpus).tolist() == draw_noise(6, 0.5, 3).tolist()
    path = save(tmp_path, INDEX)
    assert find_noise(NoiseOptions(rate=0.5, file=path), corpus).tolist() == INDEX


def test_captions_of_a_benchmark_are_numbered_in_the_published_order(tmp_path):
    records = [
        cuhk_record("train", 7, "cam_a/9.jpg", "first", "second"),
        cuhk_record("test", 3, "cam_a/1.jpg", "not in training"),
        cuhk_record("train", 2, "cam_b/5.jpg", "third"),
        cuhk_record("val", 4, "cam_a/2.jpg", "nor this"),
        cuhk_record("train", 7, "CUHK01/0.jpg", "fourth", "fifth"),
    ]
    write_cuhk(tmp_path, records)
    corpus = load_split(Choice("cuhk_pedes", ADAPTERS["cuhk_pedes"].Options()), "train", make_data(tmp_path))
    found = [caption for row in range(len(corpus)) for caption in corpus.captions(row)]
    assert found == ["first", "second", "third", "fourth", "fifth"]


def write_text(path):
    path.write_text("0 1 2")


def write_nothing(path):
    path.write_bytes(b"")


def write_pickled(path):
    np.save(path, np.array([{"index": 1}], dtype=object), allow_pickle=True)


def write_cut_off(path):
    np.save(path, np.arange(6))
    path.write_bytes(path.read_bytes()[:-9])


def write_archive(path):
    with path.open("wb") as file:
        np.savez(file, index=np.arange(6))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (write_text, "is no .npy file"),
        (write_nothing, "is no .npy file"),
        (write_archive, "is no .npy file"),
        (write_pickled, "cannot be read: .*[Oo]bjects"),
        (write_cut_off, "cannot be read: mmap length is greater than file size"),
        (lambda path: np.save(path, np.arange(6.0)), r"holds float64 of shape \[6\], expected whole numbers"),
        (lambda path: np.save(path, np.zeros((2, 3), int)), r"holds int64 of shape \[2, 3\], expected whole"),
        (
            lambda path: np.save(path, np.arange(68126)),
            "has 68,126 captions, but small_set trains on 6; take the file of this dataset",
        ),
        (lambda path: np.save(path, np.array([0, 1, 2, 3, 4, 4])), r"is no permutation of 0\.\.5"),
        (lambda path: np.save(path, np.arange(1, 7)), r"is no permutation of 0\.\.5"),
        (lambda path: np.save(path, np.arange(-1, 5)), r"is no permutation of 0\.\.5"),
    ],
    ids=range(13),
)
def test_a_wrong_file_is_one_line(write, message, tmp_path):
    path = tmp_path / "index.npy"
    write(path)
    with pytest.raises(DataError, match=rf"^data\.noise\.file: {path} {message}") as caught:
        read_noise(path, 6, "small_set")
    assert "\n" not in str(caught.value)


def test_a_wrong_file_stops_before_the_first_batch(tmp_path):
    path = save(tmp_path, list(range(5)))
    with pytest.raises(DataError, match="has 5 captions, but small_set trains on 6"):
        make_samples(tmp_path, NoiseOptions(file=path))


def test_another_integer_type_is_read(tmp_path):
    np.save(tmp_path / "index.npy", np.array(INDEX, dtype=np.uint16))
    index = read_noise(tmp_path / "index.npy", 6, "small_set")
    assert (index.tolist(), index.dtype) == (INDEX, np.int64)
    torch.from_numpy(index)  # no read-only view of the file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.0}, r"rate: expected float in \[0, 1\), got 1.0"),
        ({"rate": -0.1}, r"rate: expected float in \[0, 1\), got -0.1"),
        ({"rate": float("nan")}, "rate: expected float, got nan"),
        ({"seed": 2**32}, r"seed: expected int in \[0, 2\^32\)"),
    ],
)
def test_options_without_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build_options(NoiseOptions, options, {})
