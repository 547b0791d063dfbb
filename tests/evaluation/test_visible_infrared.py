import math
from typing import Any

import numpy as np
import pytest
import torch

from tpr.errors import DataError, TrainingError
from tpr.evaluation import visible_infrared_metrics
from tpr.evaluation.protocols.visible_infrared import RULES, Rules
from tpr.evaluation.query_results import QueryResults, summarise_trials
from tpr.evaluation.scores import GivenDistances
from tpr.evaluation.search import Labels
from tpr.evaluation.search import rank as rank_scores

CROSS: tuple[Rules, ...] = ("sysu", "regdb", "llcm")


def draw(protocol: Rules, seed: int, *, steps: int | None = None) -> tuple[Any, ...]:
    """Distances, identities and cameras; steps: distances are so many whole numbers, with ties."""
    rng = np.random.default_rng(seed)
    queries, gallery, people = 23, 41, 7
    distance = rng.random((queries, gallery)) if steps is None else rng.integers(0, steps, (queries, gallery))
    cameras = ((2, 3, 6), (1, 2, 3, 5)) if protocol == "sysu" else (range(1, 4), range(1, 4))
    identities = rng.integers(0, people + 1, queries), rng.integers(0, people, gallery)
    sides = rng.choice(cameras[0], queries), rng.choice(cameras[1], gallery)
    return distance, *identities, *sides, protocol


def rank_plainly(
    distance: Any, people: Any, owners: Any, cameras: Any, views: Any, protocol: Rules
) -> list[tuple[int, float, float]]:
    """Slow twin: first place, average precision and inverse penalty of every query, zeros without a match."""
    found = []
    for row, person, camera in zip(distance.tolist(), people.tolist(), cameras.tolist(), strict=True):
        kept = []
        for column, (owner, view) in enumerate(zip(owners.tolist(), views.tolist(), strict=True)):
            if protocol == "sysu" and {camera, view} == {2, 3}:
                continue
            if protocol == "llcm" and (owner, view) == (person, camera):
                continue
            kept.append(column)
        listed = [int(owners[column]) for column in sorted(kept, key=lambda column: row[column])]
        ranks = [place for place, owner in enumerate(listed, 1) if owner == person]
        if not ranks:
            found.append((0, 0.0, 0.0))
            continue
        order = listed if protocol == "regdb" else list(dict.fromkeys(listed))
        precision = sum(number / rank for number, rank in enumerate(ranks, 1)) / len(ranks)
        found.append((order.index(person) + 1, precision, len(ranks) / ranks[-1]))
    return found


def rank(problem: tuple[Any, ...], block_bytes: int | None = None) -> QueryResults:
    distance, people, owners, cameras, views, protocol = problem
    scores = GivenDistances(distance)
    scores.block_bytes = block_bytes or scores.block_bytes
    return rank_scores(scores, Labels(people, cameras), Labels(owners, views), RULES[protocol])


@pytest.mark.parametrize("protocol", CROSS)
@pytest.mark.parametrize("steps", [None, 2, 9])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_plain_loops_with_and_without_ties(protocol: Rules, steps: int | None, seed: int) -> None:
    problem = draw(protocol, seed, steps=steps)
    results = rank(problem)
    first, precision, penalty = zip(*rank_plainly(*problem), strict=True)
    assert results.first.tolist() == list(first)
    assert results.average_precision.tolist() == pytest.approx(precision, abs=1e-12)
    assert results.inverse_penalty.tolist() == pytest.approx(penalty, abs=1e-12)


@pytest.mark.parametrize("protocol", CROSS)
def test_results_do_not_depend_on_the_size_of_a_block(protocol: Rules) -> None:
    problem = draw(protocol, 3, steps=9)
    whole = rank(problem)
    for size in (1, 2000):
        parts = rank(problem, size)
        for name in ("first", "average_precision", "inverse_penalty"):
            assert np.array_equal(getattr(parts, name), getattr(whole, name)), (size, name)


def test_public_function_takes_arrays_and_tensors_of_any_type() -> None:
    problem = draw("llcm", 1, steps=9)
    metrics = visible_infrared_metrics(*problem)
    for dtype in (torch.float32, torch.float64, torch.int32):
        tensors = [torch.from_numpy(np.asarray(value)) for value in problem[1:5]]
        distance = torch.from_numpy(problem[0]).to(dtype)
        assert visible_infrared_metrics(distance, *tensors, "llcm") == metrics
    plain = [found for found in rank_plainly(*problem) if found[0]]
    assert (metrics.queries, metrics.unmatched) == (len(plain), 23 - len(plain))
    assert metrics.unmatched
    for name, k in (("r1", 1), ("r5", 5), ("r10", 10), ("r20", 20)):
        share = 100 * np.mean([first <= k for first, _, _ in plain])
        assert getattr(metrics, name) == pytest.approx(share)
    assert metrics.map == pytest.approx(100 * np.mean([precision for _, precision, _ in plain]))
    assert metrics.minp == pytest.approx(100 * np.mean([penalty for _, _, penalty in plain]))


def test_persons_count_once_before_a_match_and_images_each() -> None:
    # The match is the fourth image; the three before it show two persons.
    problem = (np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([1]), np.array([5, 5, 6, 1]))
    cameras = (np.array([6]), np.array([1, 2, 1, 4]))
    for protocol, place in (("sysu", 3), ("llcm", 3), ("regdb", 4)):
        assert rank((*problem, *cameras, protocol)).first.tolist() == [place]
    metrics = visible_infrared_metrics(*problem, *cameras, "sysu")
    assert (metrics.r1, metrics.r5, metrics.map, metrics.minp) == (0, 100, 25, 25)


def test_distances_that_say_nothing_are_refused() -> None:
    problem = draw("sysu", 1)
    for value in (math.nan, math.inf):
        spoilt = problem[0].copy()
        spoilt[3, 4] = value
        with pytest.raises(TrainingError, match="are not finite; the weights have diverged"):
            visible_infrared_metrics(spoilt, *problem[1:])
    with pytest.raises(ValueError, match=r"distances \(23, 40\) do not fit identities \(23, 41\)"):
        visible_infrared_metrics(problem[0][:, 1:], *problem[1:])
    with pytest.raises(DataError, match="none of 23 queries has a match in the gallery"):
        visible_infrared_metrics(problem[0], problem[1] + 100, *problem[2:])


def test_trials_are_averaged_with_their_sample_deviation() -> None:
    def trial(first: list[int]) -> QueryResults:
        places = np.array(first)
        quality = np.where(places > 0, 1 / np.maximum(places, 1), 0.0)
        return QueryResults(places, quality, quality, np.arange(len(first)))

    metrics, deviations = summarise_trials([trial([1, 1, 30, 2]), trial([1, 0, 30, 30])])
    assert (metrics.r1, metrics.r20) == pytest.approx(((50 + 100 / 3) / 2, (75 + 100 / 3) / 2))
    assert (metrics.queries, metrics.unmatched) == (3, 1)
    assert deviations["r1"] == pytest.approx((50 - 100 / 3) / math.sqrt(2))
    assert list(deviations) == ["r1", "r5", "r10", "r20", "map", "minp"]
    assert summarise_trials([trial([1, 2])])[1] == {}
