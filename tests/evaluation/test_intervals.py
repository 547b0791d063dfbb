import numpy as np
import pytest

from tpr.evaluation.intervals import bootstrap_intervals
from tpr.evaluation.query_results import RETRIEVAL, QueryResults


def make_results(first: list[int], identity: list[int]) -> QueryResults:
    ranks = np.array(first)
    quality = np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)
    return QueryResults(ranks, quality, quality, np.array(identity))


def test_interval_of_one_identity_is_its_own_mean() -> None:
    intervals = bootstrap_intervals(make_results([1, 2, 4, 1], [7, 7, 7, 7]))
    assert intervals["r1"] == (50.0, 50.0)
    assert intervals["map"] == pytest.approx((68.75, 68.75))


def test_same_seed_same_interval_and_another_seed_another() -> None:
    rng = np.random.default_rng(0)
    results = make_results(rng.integers(1, 12, 300).tolist(), rng.integers(0, 60, 300).tolist())
    assert bootstrap_intervals(results, seed=3) == bootstrap_intervals(results, seed=3)
    assert bootstrap_intervals(results, seed=3) != bootstrap_intervals(results, seed=4)


def test_agrees_with_a_plain_bootstrap_over_identities() -> None:
    rng = np.random.default_rng(1)
    identity = rng.integers(0, 40, 200)
    first = np.where(rng.random(40)[identity] < 0.5, 1, 3)  # whole people succeed or fail
    names = np.unique(identity)
    means = []
    for _ in range(2000):
        drawn = np.concatenate([np.flatnonzero(identity == name) for name in rng.choice(names, len(names))])
        means.append(100 * (first[drawn] == 1).mean())
    low, high = bootstrap_intervals(make_results(first.tolist(), identity.tolist()), samples=2000)["r1"]
    # Two runs of 2,000 samples: the ends of a 30 point interval agree to about one point.
    assert (low, high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=2)
    assert high - low > 20


def test_queries_without_match_and_many_identities_are_fine() -> None:
    intervals = bootstrap_intervals(make_results([1, 0, 2], [1, 2, 3]), samples=50)
    assert set(intervals) == set(RETRIEVAL)
    some = bootstrap_intervals(make_results([1, 0, 2], [1, 2, 3]), ("r1", "map"), samples=50)
    assert some == {name: intervals[name] for name in ("r1", "map")}
    many = bootstrap_intervals(make_results([1] * 50_000, list(range(50_000))), samples=100)
    assert many["r1"] == (100.0, 100.0)
