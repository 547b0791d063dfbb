"""Re-identification: ranks and measures of the official functions, by the rule of identity and camera."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.parity.fixtures import read_fixture
from tpr.evaluation.query_results import summarise
from tpr.evaluation.scores import Products
from tpr.evaluation.search import Labels, Rule, exclude_same_camera, rank

CASES = read_fixture("reid")["rank"]


def draw(case: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, Labels, Labels]:
    """Features and labels of queries and gallery, in the order of draws that the fixture tells."""
    rng = np.random.RandomState(case["seed"])
    people, absent = case["identities"], case["absent"]
    drawn = rng.randint(1, people + 1, case["gallery"] - people)
    owners = np.concatenate(
        [
            np.arange(1, people + 1),
            drawn,
            np.zeros(case["distractors"], dtype=int),
            np.full(case["junk"], -1),
        ]
    )
    views = rng.randint(1, case["cameras"] + 1, len(owners))
    wanted = rng.randint(1, people + absent + 1, case["queries"])
    cameras = rng.randint(1, case["cameras"] + 1, case["queries"])
    centres = rng.standard_normal((people + absent + 1, case["dim"]))
    sides = [
        (case["spread"] * rng.standard_normal((len(names), case["dim"])) + centres[np.maximum(names, 0)])
        for names in (owners, wanted)
    ]
    gallery, queries = (torch.from_numpy(side.astype(np.float32)).double() for side in sides)
    kept = owners >= 0
    return (
        queries,
        gallery[torch.from_numpy(kept)],
        Labels(wanted, cameras),
        Labels(owners[kept], views[kept]),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed {case['seed']}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ranks_of_the_official_functions(case: dict[str, Any], dtype: torch.dtype) -> None:
    queries, gallery, asking, asked = draw(case)
    scores = Products(queries.to(dtype), gallery.to(dtype))
    results = rank(scores, asking, asked, Rule(exclude_same_camera))
    found = results.first > 0
    assert int(found.sum()) == case["valid"]
    removed = sum(len(rows) for rows, _ in exclude_same_camera(asking, asked))
    assert removed == case["removed"]
    cmc = [(results.first[found] <= k).mean() for k in range(1, len(case["cmc"]) + 1)]
    assert cmc == pytest.approx(case["cmc"], abs=1e-5)
    assert results.average_precision[found] == pytest.approx(case["ap"], abs=1e-5)
    metrics = summarise(results)
    assert [metrics.map, metrics.minp] == pytest.approx([100 * case["mAP"], 100 * case["mINP"]], abs=1e-3)
