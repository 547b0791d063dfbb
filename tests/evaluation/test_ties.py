"""Measures expected over the orders of equal scores, against every order written out."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import fields
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch

from tpr.evaluation.protocols.text import TextRetrieval
from tpr.evaluation.protocols.visible_infrared import RULES, Rules
from tpr.evaluation.query_results import RETRIEVAL, QueryResults, concatenate, summarise
from tpr.evaluation.retrieval import rank_queries
from tpr.evaluation.scores import GivenDistances
from tpr.evaluation.search import Labels, rank
from tpr.evaluation.tie_note import find_ties
from tpr.evaluation.ties import CUTS, Expected, expect_person_hits

ITEMS = 6


def list_orders(scores: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every order of the items from the best score down."""
    levels = sorted(set(scores), reverse=True)
    groups = [[item for item, score in enumerate(scores) if score == level] for level in levels]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield tuple(itertools.chain(*parts))


def measure_order(
    order: Sequence[int], people: Sequence[int], wanted: int, counts_people: bool
) -> list[float]:
    """[hits at each cut, average precision, inverse penalty] of one order, in plain loops."""
    ranks = [place for place, item in enumerate(order, 1) if people[item] == wanted]
    place = ranks[0]
    if counts_people:
        place = len({people[item] for item in order[: ranks[0]]})
    precision = sum(found / rank for found, rank in enumerate(ranks, 1)) / len(ranks)
    return [*(float(place <= cut) for cut in CUTS), precision, len(ranks) / ranks[-1]]


def average_orders(
    scores: Sequence[int], people: Sequence[int], wanted: int, counts_people: bool = False
) -> list[float]:
    rows = [measure_order(order, people, wanted, counts_people) for order in list_orders(scores)]
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def share_of(scores: Sequence[int], people: Sequence[int], wanted: int) -> float:
    levels = {score for score, person in zip(scores, people, strict=True) if person == wanted}
    tied = [person != wanted and score in levels for score, person in zip(scores, people, strict=True)]
    return sum(tied) / len(scores)


def row_of(expected: Expected, row: int) -> list[float]:
    return [*expected.hits[row], expected.precision[row], expected.penalty[row]]


def rank_scores(
    scores: np.ndarray, people: np.ndarray, wanted: np.ndarray, dtype: torch.dtype
) -> QueryResults:
    """Results of features whose cosines have the order of `scores` (Q, G), exactly equal where they are."""
    levels = np.arange(3)
    # One of three places for each query: all gallery rows have the same length to the last bit.
    gallery = (scores.T[:, :, None] == levels).reshape(scores.shape[1], -1)
    queries = np.kron(np.eye(len(scores)), levels)
    sides = (torch.from_numpy(side).to(dtype) for side in (queries, gallery))
    return rank_queries(*sides, wanted, people)


def draw(seed: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 3, ITEMS)
    wanted = people[rng.integers(0, ITEMS, 4)]
    return rng.integers(0, levels, (4, ITEMS)), people, wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_expectations_are_the_means_over_all_orders(levels: int, dtype: torch.dtype) -> None:
    for seed in range(4):
        scores, people, wanted = draw(seed, levels)
        expected = rank_scores(scores, people, wanted, dtype).expect()
        for row, person in enumerate(wanted.tolist()):
            problem = scores[row].tolist(), people.tolist(), person
            assert row_of(expected, row) == pytest.approx(average_orders(*problem), abs=1e-12)
            assert expected.share[row] == pytest.approx(share_of(*problem))


@pytest.mark.parametrize("protocol", ["sysu", "llcm", "regdb"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_expectations_on_visible_infrared_sets_follow_their_rules(protocol: Rules, levels: int) -> None:
    compared = 0
    for seed in range(4):
        scores, people, wanted = draw(seed, levels)
        rng = np.random.default_rng(seed)
        queries = Labels(wanted, rng.choice([3, 6], 4))
        gallery = Labels(people, rng.choice([1, 2, 3, 4], ITEMS))
        results = rank(GivenDistances(-scores), queries, gallery, RULES[protocol])
        expected = results.expect()
        for row, person in enumerate(wanted.tolist()):
            if not results.first[row]:
                continue
            kept = [item for item in range(ITEMS) if counts(protocol, queries, gallery, row, item)]
            own, shown = scores[row][kept].tolist(), people[kept].tolist()
            plain = average_orders(own, shown, person, protocol != "regdb")
            assert row_of(expected, row) == pytest.approx(plain, abs=1e-12)
            assert expected.share[row] == pytest.approx(share_of(own, shown, person))
            compared += 1
    assert compared >= 8


def counts(protocol: Rules, queries: Labels, gallery: Labels, row: int, item: int) -> bool:
    cameras = int(queries.camera[row]), int(gallery.camera[item])
    if protocol == "sysu":
        return cameras != (3, 2)
    return protocol != "llcm" or cameras[0] != cameras[1] or queries.identity[row] != gallery.identity[item]


def test_a_constant_model_reads_as_chance() -> None:
    people = np.repeat(np.arange(50), 6)
    results = rank_queries(torch.ones(40, 4), torch.ones(300, 4), np.arange(40), people)
    ties = find_ties([results], TextRetrieval.measures)
    assert ties is not None and ties.share == pytest.approx(100 * 294 / 300)
    for name, cut in (("r1", 1), ("r5", 5), ("r10", 10)):
        chance = 1 - comb(294, cut) / comb(300, cut)
        assert ties.expected[name] == pytest.approx(100 * chance)
    last = [Fraction(comb(place - 1, 5) * 6, comb(300, 6) * place) for place in range(6, 301)]
    assert ties.expected["minp"] == pytest.approx(100 * float(sum(last)))
    rng = np.random.default_rng(0)
    ranks = np.sort(np.argsort(rng.random((20_000, 300)), axis=1)[:, :6], axis=1) + 1
    drawn = 100 * (np.arange(1, 7) / ranks).mean()
    assert ties.expected["map"] == pytest.approx(drawn, abs=0.1)  # six deviations of the drawn mean
    # Gallery order flatters: the table's own numbers stay as they are.
    assert summarise(results).map > 2 * ties.expected["map"]


def test_persons_of_equally_many_images_are_drawn_alike() -> None:
    others = np.full((1, 999), 4)
    hits = expect_person_hits(np.array([0]), others, np.array([4]))
    assert hits[0] == pytest.approx([cut / 1000 for cut in CUTS], rel=1e-9)
    behind = expect_person_hits(np.array([7]), others, np.array([4]))
    assert behind[0] == pytest.approx([0, 0, 3 / 1000, 13 / 1000], rel=1e-9)


def test_few_ties_are_not_told_of_and_matches_may_tie_with_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(rows, 8, generator=generator) for rows in (20, 400))
    people = np.arange(400) % 20
    gallery[20:40] = gallery[:20]
    results = rank_queries(queries, gallery, np.arange(20), people)
    assert results.expected is not None and not results.expected.share.any()
    assert results.expected.precision == pytest.approx(results.average_precision)
    gallery[0] = gallery[1]
    few = rank_queries(queries, gallery, np.arange(20), people)
    assert few.expected is not None and 0 < few.expected.share.mean() < 0.01
    assert find_ties([few], TextRetrieval.measures) is None


def test_scores_of_their_own_cost_nothing_and_shards_join() -> None:
    generator = torch.Generator().manual_seed(1)
    queries, gallery = (torch.randn(30, 8, generator=generator) for _ in range(2))
    people = np.arange(30) % 5
    untied = rank_queries(queries, gallery, people, people)
    assert untied.expected is None and find_ties([untied], TextRetrieval.measures) is None
    queries[10:] = 1
    gallery[:20] = 1
    whole = rank_queries(queries, gallery, people, people)
    shards = (slice(10), slice(10, 30))
    parts = [rank_queries(queries[rows], gallery, people[rows], people) for rows in shards]
    joined = concatenate(parts)
    for field in fields(Expected):
        assert getattr(joined.expect(), field.name) == pytest.approx(getattr(whole.expect(), field.name))
    ties = find_ties([joined, joined], RETRIEVAL)
    assert ties is not None and tuple(ties.expected) == RETRIEVAL
