"""KMeans, UPS and DBSCAN, by hand on four points and by their invariants on many."""

import numpy as np
import pytest

from tpr.captioning.styles.clusters import (
    cluster_dbscan,
    cluster_kmeans,
    find_nearest,
    place_prototypes,
    sample_uniformly,
)
from tpr.errors import ConfigError

FOUR = np.array([[0.0, 0], [2, 0], [0, 4], [2, 4]])


def cloud(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(rows, columns))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_prototypes_lie_in_the_box_of_the_whole_population() -> None:
    # Mean (1, 2), population deviation (1, 2): the box is [-6, 8] x [-12, 16]; a sample's would be wider.
    draws = np.array([[0.0, 0], [1, 1], [0.5, 0.75]])
    assert place_prototypes(FOUR, draws, 7.0).tolist() == [[-6, -12], [8, 16], [1, 9]]


def test_the_nearest_rows_come_first_and_of_equal_ones_the_first() -> None:
    prototypes = np.array([[-6.0, -12], [8, 16], [1, 9]])
    assert [rows.tolist() for rows in find_nearest(FOUR, prototypes, 2, "l2")] == [[0, 1], [3, 2], [2, 3]]
    distances = np.linalg.norm(FOUR - prototypes[0], axis=1)
    assert distances == pytest.approx([13.4164, 14.4222, 17.0880, 17.8885], abs=5e-5)


def test_cosine_looks_at_directions_alone() -> None:
    rows = np.array([[10.0, 0.1], [0.1, 0.1], [0.0, 5.0]])
    assert [found.tolist() for found in find_nearest(rows, np.array([[0.2, 0.2]]), 3, "cosine")] == [
        [1, 0, 2]
    ]


def test_every_group_of_ups_has_its_members_and_the_seed_decides() -> None:
    features = cloud(500, 16)
    options = {"members": 20, "reach": 7.0, "metric": "l2"}
    first, again, other = (sample_uniformly(features, 150, seed=seed, **options) for seed in (1, 1, 2))
    assert len(first) == 150 and sum(len(rows) for rows in first) == 150 * 20
    assert all(len(set(rows.tolist())) == 20 for rows in first)
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in again]
    assert [rows.tolist() for rows in first] != [rows.tolist() for rows in other]


def test_prototypes_so_far_out_choose_the_extremes_of_a_direction() -> None:
    features = cloud(5000, 512).astype(np.float64)
    prototypes = place_prototypes(features, np.random.default_rng(0).random((3, 512)), 7.0)
    for prototype, nearest in zip(prototypes, find_nearest(features, prototypes, 200, "l2"), strict=True):
        along = (features - features.mean(0)) @ (prototype - features.mean(0))
        assert len(set(np.argsort(-along)[:200].tolist()) & set(nearest.tolist())) >= 0.98 * 200


def test_kmeans_holds_every_row_once_and_finds_what_is_apart() -> None:
    middles = np.eye(4, dtype=np.float32) * 10
    features = np.repeat(middles, 25, axis=0) + cloud(100, 4) * 0.1
    groups = cluster_kmeans(features, 4, seed=0, iterations=100)
    assert sorted(row for rows in groups for row in rows.tolist()) == list(range(100))
    assert sorted(sorted(rows.tolist()) for rows in groups) == [
        list(range(25 * k, 25 * k + 25)) for k in range(4)
    ]
    again = cluster_kmeans(features, 4, seed=0, iterations=100)
    assert [rows.tolist() for rows in again] == [rows.tolist() for rows in groups]


def test_dbscan_leaves_what_is_alone_out() -> None:
    features = np.concatenate([np.zeros((9, 2)), np.ones((9, 2)), [[9.0, 9.0]]]).astype(np.float32)
    groups = cluster_dbscan(features, distance=0.3, neighbours=5)
    assert [rows.tolist() for rows in groups] == [list(range(9)), list(range(9, 18))]


def test_too_few_captions_are_one_line() -> None:
    same = np.zeros((30, 4), dtype=np.float32)
    with pytest.raises(ConfigError, match="kmeans=8: there are only 1 different captions; ask for fewer"):
        cluster_kmeans(same, 8, seed=0, iterations=10)
    with pytest.raises(ConfigError, match="kmeans=50: there are only 30 different captions"):
        cluster_kmeans(cloud(30, 4), 50, seed=0, iterations=10)
    with pytest.raises(ConfigError, match="ups_members=200: there are only 30 captions"):
        sample_uniformly(same, 3, members=200, reach=7.0, metric="l2", seed=0)
    with pytest.raises(ConfigError, match="no caption has 5 neighbours so near; raise it"):
        cluster_dbscan(cloud(30, 64), distance=0.01, neighbours=5)
