from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.toy_world import make_pairs
from tpr.config.visible_infrared import VisibleInfraredOptions
from tpr.data.tables.corpus import Corpus
from tpr.evaluation.protocols import Search, choose_texts, list_images, list_searches

BOTH = ("infrared_to_visible", "visible_to_infrared")


def count_views(corpus: Corpus, rows: np.ndarray) -> set[tuple[int, int, int]]:
    """Person, camera and how many images of them there are."""
    pairs = list(zip(corpus.identity[rows].tolist(), corpus.cameras()[rows].tolist(), strict=True))
    return {(*pair, pairs.count(pair)) for pair in pairs}


def find_cameras(search: Search, corpus: Corpus) -> tuple[set[int], set[int]]:
    trial = search.trials[0]
    return set(corpus.cameras()[trial.queries].tolist()), set(corpus.cameras()[trial.gallery].tolist())


def test_searches_of_sysu_take_their_cameras_in_both_directions(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    searches = list_searches(corpus, VisibleInfraredOptions(directions=BOTH))
    assert [(search.name, search.direction, *find_cameras(search, corpus)) for search in searches] == [
        ("all", "infrared_to_visible", {3, 6}, {1, 2, 4, 5}),
        ("all", "visible_to_infrared", {1, 2, 4, 5}, {3, 6}),
        ("indoor", "infrared_to_visible", {3, 6}, {1, 2}),
        ("indoor", "visible_to_infrared", {1, 2}, {3, 6}),
    ]
    assert all(len(search.trials) == 10 for search in searches)


@pytest.mark.parametrize(("shots", "images"), [("single", 1), ("multi", 2)])
def test_a_gallery_has_one_or_several_images_of_each_person_and_camera(
    tmp_path: Path, shots: str, images: int
) -> None:
    corpus = make_pairs(tmp_path)
    (search,) = list_searches(corpus, VisibleInfraredOptions(sysu=("all",), shots=shots))
    for trial in search.trials:
        views = {(person, camera, images) for person in range(10, 15) for camera in (1, 2, 4, 5)}
        assert count_views(corpus, trial.gallery) == views
        assert len(set(trial.gallery.tolist())) == len(trial.gallery)
        assert len(trial.queries) == 20


def test_several_shots_are_ten_where_there_are_more(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    crowd = corpus.select(np.r_[np.repeat(0, 13), np.flatnonzero(corpus.infrared())])
    (search,) = list_searches(crowd, VisibleInfraredOptions(sysu=("all",), shots="multi", trials=3))
    galleries = [trial.gallery.tolist() for trial in search.trials]
    assert all(len(set(gallery)) == 10 for gallery in galleries)
    assert galleries[0] != galleries[1] != galleries[2]


def test_galleries_are_the_same_for_any_number_of_trials_and_order_of_rows(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path, "llcm")
    ten = list_searches(corpus, VisibleInfraredOptions())[0].trials
    two = list_searches(corpus, VisibleInfraredOptions(trials=2))[0].trials
    assert [trial.gallery.tolist() for trial in two] == [trial.gallery.tolist() for trial in ten[:2]]
    order = np.random.default_rng(0).permutation(len(corpus))
    mixed = corpus.select(order)
    for one, other in zip(two, list_searches(mixed, VisibleInfraredOptions(trials=2))[0].trials, strict=True):
        assert one.gallery.tolist() == order[other.gallery].tolist()
        assert one.queries.tolist() == order[other.queries].tolist()


def test_own_text_is_the_description_and_not_its_rephrasing(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    infrared = list_images(corpus, infrared=True)
    texts = choose_texts(corpus, infrared, VisibleInfraredOptions(), needs_own=True)
    assert texts.own is None
    owners = corpus.caption_owners()[texts.given]
    assert owners.tolist() == infrared.tolist()
    assert texts.given.tolist() == corpus.caption_offsets[infrared].tolist()
