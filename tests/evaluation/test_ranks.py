import pytest
import torch

from tpr.evaluation import ranks
from tpr.evaluation.ranks import count_by_comparing, count_by_rows, count_by_sorting

WAYS = [count_by_rows, count_by_comparing, count_by_sorting]


@pytest.mark.parametrize("count", WAYS)
def test_counts_worked_out_by_hand(count: object) -> None:
    scores = torch.tensor([[0.1, 0.5, 0.5, 0.9, 0.3], [0.0, 0.0, 0.0, 0.0, 0.0]])
    low = torch.tensor([[0.3, 0.9], [0.0, 0.1]])
    high = torch.tensor([[0.5, 1.0], [0.0, 0.2]])
    above, near, _ = count(scores, low, high)  # type: ignore[operator]
    assert above.tolist() == [[1, 0], [0, 0]]
    assert near.tolist() == [[3, 1], [5, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threaded_gallery", [1, 10**9])
@pytest.mark.parametrize("matches", [1, 9])
def test_all_ways_of_counting_agree(
    dtype: torch.dtype, matches: int, threaded_gallery: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "THREADED_GALLERY", threaded_gallery)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    generator = torch.Generator().manual_seed(0)
    scores = (torch.randn(7, 400, generator=generator, dtype=dtype) * 50).round() / 50
    own = scores[:, :matches]
    results = [way(scores, own - 0.03, own + 0.03) for way in WAYS]
    for above, near, _ in results[1:]:
        assert torch.equal(above, results[0][0]) and torch.equal(near, results[0][1])


def test_margin_covers_the_error_of_float32_scores() -> None:
    generator = torch.Generator().manual_seed(1)
    for width, offset in ((16, 0.0), (512, 0.0), (128, 100.0), (512, 3.0), (2048, 3.0)):
        queries, features = (torch.randn(50, width, generator=generator) + offset for _ in range(2))
        gallery = ranks.Gallery(features, ranks.unit_scale(features, "gallery"), torch.empty(50, 50))
        unit = torch.nn.functional.normalize(queries.double(), dim=1)
        error = (gallery.score(unit).double() - gallery.score_in_float64(unit)).abs().max()
        assert error < ranks.MARGIN / 2


@pytest.mark.parametrize("matches", [1, 9])
def test_windows_are_found_while_counting_or_by_a_search(matches: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(7, 4000, generator=generator)
    low, high = scores[:, :matches] - 5e-4, scores[:, :matches] + 5e-4
    above, near, found = count_by_rows(scores, low, high)
    assert found is not None
    searched = ranks.find_within(scores, low, high, near > 1)
    inside = (scores[:, None] >= low[..., None]) & (scores[:, None] <= high[..., None])
    by_hand = torch.nonzero(inside.flatten(0, 1) & (near > 1).flatten()[:, None])
    for way in (found, searched):
        assert torch.equal(torch.stack(way, dim=1), by_hand) and len(by_hand) > matches


def test_crowded_windows_are_counted_and_not_listed() -> None:
    scores = torch.zeros(3, 400)
    above, near, found = count_by_rows(scores, scores[:, :9] - 0.1, scores[:, :9] + 0.1)
    assert found is None and near.eq(400).all() and not above.any()
