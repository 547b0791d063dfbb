"""Slots of a visible and an infrared image: numbers, captions, images, independence, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.small_corpus import SIZE, make_data
from tests.data.small_slots import INFRARED, VISIBLE, make_slots
from tests.data.test_loader import assert_equal
from tpr.config.augment import AugmentOptions
from tpr.config.noise import NoiseOptions
from tpr.config.schema import DataOptions
from tpr.config.typed import build_options
from tpr.data import tokenize
from tpr.data.images.chains import CLIP_CHAIN, name_chain
from tpr.data.images.reader import decode
from tpr.data.images.transforms import normalise_pixels
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import TrainLoader, iterate_images
from tpr.data.samples.modality_tests import list_identity_captions
from tpr.data.samples.views import Views
from tpr.data.samples.visible_infrared import CrossModalitySamples
from tpr.data.tables.corpora import keep_descriptions
from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError, DataError

CHAIN = name_chain("lanczos", "imagenet")
SLOTS = Views(kind="slot", chain=CHAIN)
BASE = Views(kind="slot", chain=CHAIN, tokens=False)
CALM = AugmentOptions(flip=0, pad=0, erase=0, infrared_erase=0)


def make_samples(corpus: Corpus, views: Views = SLOTS, **options: object) -> CrossModalitySamples:
    return CrossModalitySamples(corpus, make_data(corpus.root, **options), views, seed=1)


def make_loader(corpus: Corpus, workers: int = 0, views: Views = SLOTS, **options: Any) -> TrainLoader:
    place = {name: options.pop(name) for name in ("rank", "world", "sampler") if name in options}
    settings = {"seed": 1, "workers": workers, "sampler": "cross_modality", "device": "cpu", **place}
    options = {"images_per_identity": 2, "rephrased": 0.5, **options}
    return TrainLoader(corpus, make_data(corpus.root, **options), views, **settings)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_slots(tmp_path)


def test_a_slot_is_numbered_by_its_visible_and_its_infrared_place(corpus: Corpus) -> None:
    samples = make_samples(corpus)
    assert len(samples) == len(VISIBLE) * len(INFRARED)
    numbers = np.array([0, 5, 6, 47])
    assert samples.find_rows(numbers).tolist() == [0, 0, 1, 7]
    assert samples.find_infrared_rows(numbers).tolist() == [8, 13, 8, 13]


def test_a_slot_holds_both_images_and_both_captions(corpus: Corpus, tmp_path: Path) -> None:
    entries, skipped = make_samples(corpus, augment=CALM).read(np.array([6, 45]), 1)
    assert not skipped
    assert entries["image_index"].tolist() == [1, 7]
    assert entries["infrared_index"].tolist() == [8, 11]
    assert entries["identity"].tolist() == entries["text_identity"].tolist() == [0, 2]
    assert entries["caption_index"].tolist() == [2, 14]
    assert entries["tokens"].tolist() == tokenize([f"image {row} caption 0" for row in (1, 7)], 12).tolist()
    words = tokenize([f"image {row} caption 0" for row in (8, 11)], 12)
    assert entries["infrared_tokens"].tolist() == words.tolist()
    assert (entries["longest_caption"], entries["longest_infrared_caption"]) == (6, 7)
    for name, rows in (("images", (1, 7)), ("second_images", (1, 7)), ("infrared_images", (8, 11))):
        for frame, row in zip(entries[name], rows, strict=True):
            assert torch.equal(frame, CHAIN.resize(decode((tmp_path / f"{row}.jpg").read_bytes()), SIZE))


def test_the_three_images_move_independently(corpus: Corpus) -> None:
    samples = make_samples(corpus, augment=AugmentOptions(flip=0.5, pad=2))
    numbers = np.zeros(64, dtype=np.int64) + np.arange(64) % 48
    moved = [samples.read(numbers, epoch)[0] for epoch in range(1, 5)]
    same = [
        torch.equal(a, b)
        for part in moved
        for a, b in zip(part["images"], part["second_images"], strict=True)
    ]
    assert 0 < sum(same) < 0.1 * len(same)  # 1 of 50 moves is the same by chance


def test_coins_of_both_captions_are_independent_and_as_frequent_as_asked(corpus: Corpus) -> None:
    samples = make_samples(corpus, rephrased=0.3)
    drawn = [samples.describe(np.arange(48), epoch) for epoch in range(60)]
    visible = np.concatenate([entries["caption_index"] % 2 for entries in drawn])
    texts = [tokenize([f"image {row} caption 1"], 12)[0].numpy() for row in range(14)]
    infrared = np.concatenate(
        [
            [
                np.array_equal(ids, texts[row])
                for ids, row in zip(e["infrared_tokens"], e["infrared_index"], strict=True)
            ]
            for e in drawn
        ]
    )
    deviation = (0.3 * 0.7 / len(visible)) ** 0.5
    assert abs(visible.mean() - 0.3) < 4 * deviation
    assert abs(infrared.mean() - 0.3) < 4 * deviation
    assert abs((visible * infrared).mean() - 0.09) < 4 * deviation


def test_an_image_without_a_rephrasing_keeps_its_description(tmp_path: Path) -> None:
    corpus = make_slots(tmp_path, captions=[1, 2] * 7)
    entries = make_samples(corpus, rephrased=1.0).describe(np.arange(0, 48, 6), 1)
    assert entries["caption_index"].tolist() == [0, 2, 3, 5, 6, 8, 9, 11]


def test_images_without_a_caption_are_left_out_only_where_text_is_read(tmp_path: Path) -> None:
    corpus = make_slots(tmp_path, captions=[0] + [1] * 13)
    assert len(make_samples(corpus)) == 7 * 6
    assert make_samples(corpus).find_rows(np.array([0])).tolist() == [1]
    assert len(make_samples(corpus, BASE)) == 8 * 6


def test_base_training_needs_no_text(tmp_path: Path) -> None:
    corpus = make_slots(tmp_path, captions=0)
    batch = next(make_loader(corpus, views=BASE).epoch(1))
    assert set(batch) == {
        "images", "second_images", "infrared_images", "identity", "sample_index", "image_index",
        "infrared_index", "global_size",
    }  # fmt: skip
    with pytest.raises(DataError, match="^small_set has no captions to train on; fetch its folder Text, or"):
        make_samples(corpus)


def test_batches_are_equal_for_any_number_of_workers(corpus: Corpus) -> None:
    loaders = [make_loader(corpus, workers) for workers in (0, 2)]
    for epoch in (1, 2):
        batches = [list(loader.epoch(epoch)) for loader in loaders]
        assert_equal(*batches)
    first = next(iter(loaders[0].epoch(1)))
    assert not torch.equal(batches[0][0]["sample_index"], first["sample_index"])
    assert {"images", "second_images", "infrared_images", "tokens", "infrared_tokens"} <= set(first)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_have_the_batch_of_one_process(corpus: Corpus, world: int) -> None:
    whole = list(make_loader(corpus).epoch(3))
    ranks = [list(make_loader(corpus, rank=rank, world=world).epoch(3)) for rank in range(world)]
    for step, batch in enumerate(whole):
        parts = [batches[step] for batches in ranks]
        assert {part["global_size"] for part in parts} == {batch["global_size"]} == {4}
        for name, value in batch.items():
            if isinstance(value, torch.Tensor) and name != "owner":
                assert torch.equal(torch.cat([part[name] for part in parts]), value), name  # type: ignore[literal-required]


def test_an_epoch_continues_in_its_middle(corpus: Corpus) -> None:
    whole = list(make_loader(corpus).epoch(2))
    assert_equal(list(make_loader(corpus).epoch(2, 1)), whole[1:])


def test_images_are_normalised_by_the_statistics_that_are_asked_for(corpus: Corpus, tmp_path: Path) -> None:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def by_hand(row: int) -> torch.Tensor:
        pixels = CHAIN.resize(decode((tmp_path / f"{row}.jpg").read_bytes()), SIZE).float() / 255
        return (pixels - mean[:, None, None]) / deviation[:, None, None]

    loader = make_loader(corpus, augment=CALM)
    for batches in (loader.epoch(1), loader.survey(1, augment=False)):
        batch = next(batches)
        for name, rows in (("images", "image_index"), ("infrared_images", "infrared_index")):
            for image, row in zip(batch[name], batch[rows].tolist(), strict=True):  # type: ignore[literal-required]
                assert torch.allclose(image, by_hand(row), atol=1e-5)
        assert torch.equal(batch["images"], batch["second_images"])
    data = make_data(tmp_path)
    (some,) = iterate_images(
        corpus, data, batch=3, workers=0, device="cpu", indices=np.array([9]), chain=CHAIN
    )
    assert torch.allclose(some["images"][0], by_hand(9), atol=1e-5)
    assert torch.equal(
        next(iterate_images(corpus, data, batch=3, workers=0, device="cpu", chain=CLIP_CHAIN))["images"][:1],
        normalise_pixels(
            CLIP_CHAIN.resize(decode((tmp_path / "0.jpg").read_bytes()), SIZE)[None], CLIP_CHAIN
        ),
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_replaced_by_one_of_the_same_person_and_kind(
    corpus: Corpus, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "5.jpg").write_bytes(b"text")
    (tmp_path / "12.jpg").write_bytes(b"text")
    loader = make_loader(corpus, workers, on_bad_image="skip", batch=6)
    identity = np.array(VISIBLE + INFRARED)
    for batch in (batch for epoch in range(1, 4) for batch in loader.epoch(epoch)):
        rows, infrared = batch["image_index"].tolist(), batch["infrared_index"].tolist()
        assert not {5, 12} & {*rows, *infrared}
        assert identity[rows].tolist() == identity[infrared].tolist() == batch["identity"].tolist()
        assert batch["sample_index"].tolist() == [6 * v + r - 8 for v, r in zip(rows, infrared, strict=True)]
    assert loader.skipped
    with pytest.raises(DataError, match=r"^small_set: .*/(5|12).jpg is not an image .*on_bad_image=skip$"):
        list(make_loader(corpus, workers).epoch(1))
        list(make_loader(corpus, workers).epoch(2))


def test_a_person_without_infrared_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match="^small_set: 1 of 3 people have no infrared image to train on, the first is identity 10;",
    ):
        make_samples(make_slots(tmp_path, infrared=[0, 0, 2, 2]), BASE)
    with pytest.raises(DataError, match="1 of 3 people have no visible image to train on, .* identity 20;"):
        make_samples(make_slots(tmp_path, visible=[0, 1]), BASE)
    with pytest.raises(DataError, match="^small_set has no infrared image to train on; it needs both kinds"):
        make_samples(make_slots(tmp_path, infrared=[]), BASE)


def test_options_that_do_not_suit_slots_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="^data.sampler=shuffled: the system trains on pairs of a visible"):
        make_loader(corpus, sampler="shuffled")
    with pytest.raises(
        ConfigError, match="^data.batch=10 needs 5 identities x 2 slots, small_set has 3 ident"
    ):
        make_loader(corpus, batch=10)
    with pytest.raises(ConfigError, match="data.noise moves captions between images of one kind"):
        make_samples(corpus, noise=NoiseOptions(rate=0.2))
    with pytest.raises(ConfigError, match=r"rephrased: expected float in \[0, 1\], got 1.5"):
        build_options(DataOptions, {"rephrased": 1.5}, {})
    with pytest.raises(
        DataError, match="^data.rephrased=0.5: no caption of small_set has a rephrasing; fetch"
    ):
        make_samples(make_slots(tmp_path, captions=1, fingerprint="one each"), rephrased=0.5)


def test_the_pool_of_an_identity_is_its_visible_captions_without_repetition(tmp_path: Path) -> None:
    corpus = make_slots(tmp_path, captions=[1, 1, 0, 1, 2, 0, 0, 0, 1, 1, 1, 1, 1, 1], split="test")
    texts = corpus.table.column("captions").to_pylist()
    texts[1] = texts[0]
    place = corpus.table.column_names.index("captions")
    table = corpus.table.set_column(place, "captions", [texts])
    pool = list_identity_captions(Corpus(**{**corpus.__dict__, "table": table}))
    assert {identity: numbers.tolist() for identity, numbers in pool.items()} == {0: [0], 1: [2, 3, 4]}


def test_evaluation_keeps_descriptions_and_leaves_rephrasings(tmp_path: Path) -> None:
    corpus = make_slots(tmp_path, captions=[2, 1] * 7)
    kept = keep_descriptions(corpus)
    assert [kept.captions(row) for row in range(14)] == [corpus.captions(row)[:1] for row in range(14)]
    assert kept.caption_offsets.tolist() == list(range(15))
    assert kept.fingerprint != corpus.fingerprint
    assert kept.table.drop(["captions"]).equals(corpus.table.drop(["captions"]))


def test_batches_name_nothing_that_the_contract_does_not(corpus: Corpus) -> None:
    assert set(next(make_loader(corpus).epoch(1))) <= set(Batch.__annotations__)
