from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.toy_world import make_pairs
from tpr.config.typed import build_options
from tpr.data.samples.modality_tests import choose_texts, list_images
from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError
from tpr.evaluation.protocols.text import TextRetrieval
from tpr.evaluation.protocols.visible_infrared import NamedSearch, VisibleInfrared, list_searches

BOTH = ("infrared_to_visible", "visible_to_infrared")


def count_views(corpus: Corpus, rows: np.ndarray) -> set[tuple[int, int, int]]:
    """Person, camera and how many images of them there are."""
    pairs = list(zip(corpus.identity[rows].tolist(), corpus.cameras()[rows].tolist(), strict=True))
    return {(*pair, pairs.count(pair)) for pair in pairs}


def find_cameras(search: NamedSearch, corpus: Corpus) -> tuple[set[int], set[int]]:
    trial = search.search.trials[0]
    return set(corpus.cameras()[trial.queries].tolist()), set(corpus.cameras()[trial.gallery].tolist())


def test_searches_of_sysu_take_their_cameras_in_both_directions(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    searches = list_searches(corpus, VisibleInfrared.Options(directions=BOTH))
    assert [(search.name, search.direction, *find_cameras(search, corpus)) for search in searches] == [
        ("all", "infrared_to_visible", {3, 6}, {1, 2, 4, 5}),
        ("all", "visible_to_infrared", {1, 2, 4, 5}, {3, 6}),
        ("indoor", "infrared_to_visible", {3, 6}, {1, 2}),
        ("indoor", "visible_to_infrared", {1, 2}, {3, 6}),
    ]
    assert all(len(search.search.trials) == 10 for search in searches)


@pytest.mark.parametrize(("shots", "images"), [("single", 1), ("multi", 2)])
def test_a_gallery_has_one_or_several_images_of_each_person_and_camera(
    tmp_path: Path, shots: str, images: int
) -> None:
    corpus = make_pairs(tmp_path)
    (search,) = list_searches(corpus, VisibleInfrared.Options(sysu=("all",), shots=shots))
    for trial in search.search.trials:
        views = {(person, camera, images) for person in range(10, 15) for camera in (1, 2, 4, 5)}
        assert count_views(corpus, trial.gallery) == views
        assert len(set(trial.gallery.tolist())) == len(trial.gallery)
        assert len(trial.queries) == 20


def test_several_shots_are_ten_where_there_are_more(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    crowd = corpus.select(np.r_[np.repeat(0, 13), np.flatnonzero(corpus.infrared())])
    (search,) = list_searches(crowd, VisibleInfrared.Options(sysu=("all",), shots="multi", trials=3))
    galleries = [trial.gallery.tolist() for trial in search.search.trials]
    assert all(len(set(gallery)) == 10 for gallery in galleries)
    assert galleries[0] != galleries[1] != galleries[2]


def test_galleries_are_the_same_for_any_number_of_trials_and_order_of_rows(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path, "llcm")
    ten = list_searches(corpus, VisibleInfrared.Options())[0].search.trials
    two = list_searches(corpus, VisibleInfrared.Options(trials=2))[0].search.trials
    assert [trial.gallery.tolist() for trial in two] == [trial.gallery.tolist() for trial in ten[:2]]
    order = np.random.default_rng(0).permutation(len(corpus))
    mixed = corpus.select(order)
    for one, other in zip(
        two, list_searches(mixed, VisibleInfrared.Options(trials=2))[0].search.trials, strict=True
    ):
        assert one.gallery.tolist() == order[other.gallery].tolist()
        assert one.queries.tolist() == order[other.queries].tolist()


def test_own_text_is_the_description_and_not_its_rephrasing(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    infrared = list_images(corpus, infrared=True)
    texts = choose_texts(corpus, infrared, "own", 1, needs_own=True)
    assert texts.own is None
    owners = corpus.caption_owners()[texts.given]
    assert owners.tolist() == infrared.tolist()
    assert texts.given.tolist() == corpus.caption_offsets[infrared].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": ("text", "text")}, r"queries must name each choice once, got \['text', 'text'\]"),
        ({"sysu": ()}, r"sysu must name each choice once, got \[\]"),
        ({"directions": ()}, r"directions must name each choice once, got \[\]"),
        ({"text_seed": 2**32}, r"text_seed: expected int in \[0, 2\^32\), got 4294967296"),
        ({"trials": 0}, r"trials: expected int in \[1, 1000\], got 0"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_options(VisibleInfrared.Options, options, {})


def test_directions_of_captions_are_named_once() -> None:
    for directions in ((), ("text_to_image", "text_to_image")):
        with pytest.raises(ConfigError, match="directions must name each direction once"):
            build_options(TextRetrieval.Options, {"directions": directions}, {})
