import logging
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tpr.errors import DataError, TrainingError
from tpr.evaluation import Metrics, retrieval_metrics
from tpr.evaluation.query_results import QueryResults, concatenate, summarise
from tpr.evaluation.retrieval import rank_queries


def basis_features(scores: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Queries and gallery whose cosines have the order of `scores` (Q, G), equal where they are equal."""
    matrix = torch.tensor(scores, dtype=torch.float64)
    queries = torch.eye(len(scores), dtype=torch.float64)
    # A last column that no query sees makes every gallery row a unit vector.
    small = matrix.T / 10
    rest = (1 - small.square().sum(1, keepdim=True)).sqrt()
    return torch.cat([queries, torch.zeros(len(scores), 1)], 1), torch.cat([small, rest], 1)


def oracle(queries: Tensor, gallery: Tensor, query_identity: Tensor, gallery_identity: Tensor) -> list[float]:
    """Slow twin: a stable float64 sort of the whole gallery for each query, and plain loops."""
    values: list[list[float]] = []
    unit_gallery = torch.nn.functional.normalize(gallery.double(), dim=1)
    unit_queries = torch.nn.functional.normalize(queries.double(), dim=1)
    gallery_names = gallery_identity.tolist()
    for query, identity in zip(unit_queries, query_identity.tolist(), strict=True):
        # Sums of products row by row: equal gallery rows give equal scores to the last bit.
        order = torch.sort((unit_gallery * query).sum(1), descending=True, stable=True).indices
        ranks = [rank for rank, item in enumerate(order.tolist(), 1) if gallery_names[item] == identity]
        if ranks:
            precision = sum(found / rank for found, rank in enumerate(ranks, 1)) / len(ranks)
            values.append([ranks[0] <= 1, ranks[0] <= 5, ranks[0] <= 10, precision, len(ranks) / ranks[-1]])
    return [100 * sum(column) / len(values) for column in zip(*values, strict=True)]


def in_order(metrics: Metrics) -> list[float]:
    return [getattr(metrics, name) for name in ("r1", "r5", "r10", "map", "minp")]


def draw(seed: int, queries: int, gallery: int, identities: int, dim: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    query_identity = torch.randint(0, identities, (queries,), generator=generator)
    gallery_identity = torch.randint(0, identities, (gallery,), generator=generator)
    centres = torch.randn(identities, dim, generator=generator)
    query_features = torch.randn(queries, dim, generator=generator) + centres[query_identity]
    gallery_features = torch.randn(gallery, dim, generator=generator) + centres[gallery_identity]
    return query_features, gallery_features, query_identity, gallery_identity


def test_hand_made_matrix_with_a_tie_and_an_absent_match(caplog: pytest.LogCaptureFixture) -> None:
    queries, gallery = basis_features(
        [
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2],  # identity 1 at ranks 2 and 4
            [0.1, 0.5, 0.5, 0.5, 0.9, 0.8, 0.7, 0.5],  # identity 2 in a tie of four: ranks 5 and 7
            [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],  # identity 3 nowhere
            [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],  # identity 0 at ranks 1, 4 and 8
        ]
    )
    gallery_identity = torch.tensor([0, 1, 2, 1, 0, 9, 9, 0])
    gallery_identity_of_two = torch.tensor([0, 1, 2, 1, 0, 9, 9, 2])
    results = rank_queries(queries, gallery, torch.tensor([1, 2, 3, 0]), gallery_identity)
    assert results.first.tolist() == [2, 5, 0, 1]
    assert results.average_precision.tolist() == pytest.approx(
        [(1 / 2 + 2 / 4) / 2, 1 / 5, 0, (1 / 1 + 2 / 4 + 3 / 8) / 3]
    )
    assert results.inverse_penalty.tolist() == pytest.approx([2 / 4, 1 / 5, 0, 3 / 8])
    # With a second image of identity 2 at the tie's end: four tied items hold ranks 4, 5, 6 and 7.
    tied = rank_queries(queries[1:2], gallery, torch.tensor([2]), gallery_identity_of_two)
    assert tied.average_precision.tolist() == pytest.approx([(1 / 5 + 2 / 7) / 2])
    with caplog.at_level(logging.WARNING):
        metrics = summarise(results)
    assert (metrics.r1, metrics.r5, metrics.r10) == pytest.approx((100 / 3, 100, 100))
    assert (metrics.queries, metrics.unmatched) == (3, 1)
    assert caplog.messages == ["1 of 4 queries have no match in the gallery and are left out"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_plain_loops_in_float64(seed: int, dtype: torch.dtype) -> None:
    queries, gallery, query_identity, gallery_identity = draw(seed, 37, 61, 9, 24)
    expected = oracle(queries, gallery, query_identity, gallery_identity)
    metrics = retrieval_metrics(queries.to(dtype), gallery.to(dtype), query_identity, gallery_identity)
    assert in_order(metrics) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("queries_at_once", [1, 5, 64])
def test_equal_images_keep_gallery_order_whatever_the_block(seed: int, queries_at_once: int) -> None:
    # BLAS rounds equal columns of a small product differently, so ties need more than float32 scores.
    queries, gallery, query_identity, gallery_identity = draw(seed, 64, 301, 12, 128)
    copies = torch.from_numpy(np.random.default_rng(seed).integers(0, 301, 200))
    gallery[copies] = gallery[copies % 5].clone()
    expected = oracle(queries, gallery, query_identity, gallery_identity)
    metrics = retrieval_metrics(
        queries, gallery, query_identity, gallery_identity, chunk_bytes=301 * 4 * queries_at_once + 1
    )
    assert in_order(metrics) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    "collapse",
    [
        pytest.param(torch.ones_like, id="all equal"),
        pytest.param(torch.sign, id="signs"),
        pytest.param(torch.zeros_like, id="zeros"),
        pytest.param(lambda x: 100 + x, id="close together"),
    ],
)
def test_collapsed_features_are_ranked_by_position(collapse: Callable[[Tensor], Tensor]) -> None:
    queries, gallery, query_identity, gallery_identity = draw(3, 40, 90, 6, 16)
    queries, gallery = collapse(queries), collapse(gallery)
    expected = oracle(queries, gallery, query_identity, gallery_identity)
    assert in_order(retrieval_metrics(queries, gallery, query_identity, gallery_identity)) == pytest.approx(
        expected, abs=1e-10
    )


def test_blocks_of_any_size_give_the_same_bits() -> None:
    data = draw(5, 120, 400, 30, 64)
    whole = rank_queries(*data)
    for chunk_bytes in (1, 5_000, 40_000):
        part = rank_queries(*data, chunk_bytes=chunk_bytes)
        assert np.array_equal(part.average_precision, whole.average_precision)
        assert np.array_equal(part.first, whole.first)


def test_shards_joined_equal_the_whole() -> None:
    queries, gallery, query_identity, gallery_identity = draw(6, 50, 80, 10, 16)
    parts = [
        rank_queries(queries[rows], gallery, query_identity[rows], gallery_identity)
        for rows in (slice(0, 17), slice(17, 18), slice(18, 50))
    ]
    whole = rank_queries(queries, gallery, query_identity, gallery_identity)
    assert summarise(concatenate(parts)) == summarise(whole)


def test_length_of_features_and_kind_of_array_do_not_matter() -> None:
    queries, gallery, query_identity, gallery_identity = draw(7, 30, 45, 8, 12)
    plain = retrieval_metrics(queries, gallery, query_identity, gallery_identity)
    lengths = 2.0 ** torch.arange(45).remainder(7)[:, None]
    read_only = (gallery * lengths).numpy()
    read_only.flags.writeable = False
    scaled = retrieval_metrics(
        8 * queries.numpy(), read_only, query_identity.numpy(), gallery_identity.numpy()
    )
    assert scaled == plain


def test_a_gallery_smaller_than_ten_and_one_identity_are_fine() -> None:
    metrics = retrieval_metrics(torch.eye(3), torch.eye(3), torch.arange(3), torch.arange(3))
    assert in_order(metrics) == [100, 100, 100, 100, 100]
    metrics = retrieval_metrics(torch.randn(4, 2), torch.randn(5, 2), torch.zeros(4), torch.zeros(5))
    assert in_order(metrics) == [100, 100, 100, 100, 100]


def test_many_matches_per_query_agree_with_the_loops() -> None:
    queries, gallery, query_identity, gallery_identity = draw(8, 20, 300, 2, 8)
    expected = oracle(queries, gallery, query_identity, gallery_identity)
    metrics = retrieval_metrics(queries, gallery, query_identity, gallery_identity, chunk_bytes=4_000)
    assert in_order(metrics) == pytest.approx(expected, abs=1e-10)


def test_features_that_are_not_finite_are_refused() -> None:
    queries = torch.randn(5, 4)
    queries[3, 1] = float("nan")
    with pytest.raises(TrainingError, match=r"1 of 5 query features are not finite \(first: row 3\)"):
        retrieval_metrics(queries, torch.randn(6, 4), torch.zeros(5), torch.zeros(6))


def test_a_set_without_any_match_is_refused() -> None:
    with pytest.raises(DataError, match="none of 3 queries has a match in the gallery"):
        retrieval_metrics(torch.eye(3), torch.eye(3), torch.arange(3), torch.arange(3) + 7)


def test_an_empty_gallery_and_no_queries_are_refused_alike() -> None:
    with pytest.raises(DataError, match="none of 3 queries has a match"):
        retrieval_metrics(torch.eye(3), torch.zeros(0, 3), torch.arange(3), torch.zeros(0))
    with pytest.raises(DataError, match="none of 0 queries has a match"):
        retrieval_metrics(torch.zeros(0, 3), torch.eye(3), torch.zeros(0), torch.arange(3))


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"query identities must be \(3,\), one per feature, got \(2,\)"):
        retrieval_metrics(torch.eye(3), torch.eye(3), torch.arange(2), torch.arange(3))
    with pytest.raises(ValueError, match="queries have 3 columns, the gallery 2"):
        retrieval_metrics(torch.eye(3), torch.eye(2), torch.arange(3), torch.arange(2))


def test_metrics_guard_their_range_and_order() -> None:
    good = {"r1": 1.0, "r5": 2.0, "r10": 3.0, "r20": 3.0, "map": 1.0, "minp": 1.0, "queries": 2}
    with pytest.raises(ValueError, match=r"map must lie in \[0, 100\]"):
        Metrics(**{**good, "map": float("nan")})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must not fall"):
        Metrics(**{**good, "r5": 0.5})  # type: ignore[arg-type]


def test_memory_stays_at_one_block() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(2000, 16, generator=generator) for _ in range(2))
    identity = torch.arange(2000) % 500
    # Numpy's share is traced here (kept values, ranks); one full matrix of scores would be 16 MB.
    tracemalloc.start()
    rank_queries(queries, gallery, identity, identity, chunk_bytes=2**18)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20


@pytest.mark.slow
def test_no_tensor_of_queries_times_gallery_is_ever_made() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(600, 8, generator=generator) for _ in range(2))
    identity = torch.arange(600) % 200
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as trace:
        rank_queries(queries, gallery, identity, identity, chunk_bytes=2**16)
    largest = max((event.cpu_memory_usage / max(1, event.count) for event in trace.key_averages()), default=0)
    assert 0 < largest < 2**18 < 600 * 600 * 4


def test_per_query_rows_leave_out_queries_without_match() -> None:
    results = QueryResults(np.array([1, 0, 6]), np.array([1, 0, 0.25]), np.array([0.5, 0, 0.1]), np.arange(3))
    assert results.measures().tolist() == [[100, 100, 100, 100, 100, 50], [0, 0, 100, 100, 25, 10]]
