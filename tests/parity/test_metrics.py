"""Retrieval numbers of the published evaluation code."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.parity.fixtures import read_fixture
from tpr.evaluation import retrieval_metrics
from tpr.evaluation.query_results import summarise
from tpr.evaluation.retrieval import rank_queries

CASES = read_fixture("metrics")["rank"]
NAMES = {"R1": "r1", "R5": "r5", "R10": "r10", "mAP": "map", "mINP": "minp"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed {case['seed']}")
def test_published_numbers_in_both_directions(case: dict[str, Any]) -> None:
    rng = np.random.RandomState(case["seed"])
    queries = rng.standard_normal((case["queries"], case["dim"])).astype("float32")
    gallery = rng.standard_normal((case["gallery"], case["dim"])).astype("float32")
    drawn = rng.randint(0, case["identities"], case["gallery"] - case["identities"])
    gallery_identity = np.concatenate([np.arange(case["identities"]), drawn])
    query_identity = rng.randint(0, case["identities"], case["queries"])
    centres = rng.standard_normal((case["identities"], case["dim"])).astype("float32")
    text = (queries + np.float32(0.8) * centres[query_identity], query_identity)
    image = (gallery + np.float32(0.8) * centres[gallery_identity], gallery_identity)
    for direction, (query, items) in {"t2i": (text, image), "i2t": (image, text)}.items():
        if direction not in case:
            continue
        metrics = retrieval_metrics(query[0], items[0], query[1], items[1])
        for published, ours in NAMES.items():
            expected = pytest.approx(case[direction][published], abs=1e-4)
            assert getattr(metrics, ours) == expected, (direction, ours)


def test_ranked_list_worked_out_in_the_specification() -> None:
    gallery_identity = [1, 0, 1, 2, 0, 0, 0, 0, 0, 2, 1, 3]
    angles = torch.linspace(0, 1.5, 12)
    gallery = torch.stack([angles.cos(), angles.sin()], dim=1)
    queries = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    results = rank_queries(queries, gallery, torch.tensor([1, 2]), torch.tensor(gallery_identity))
    # Identity 1 stands at ranks 1, 3 and 11, identity 2 at 4 and 10.
    assert results.first.tolist() == [1, 4]
    metrics = summarise(results)
    assert (metrics.r1, metrics.r5, metrics.r10) == (50, 100, 100)
    assert metrics.map == pytest.approx(43.5732, abs=1e-4)
    assert metrics.minp == pytest.approx(23.6364, abs=1e-4)
