import pytest
import torch

from tpr.evaluation import counting
from tpr.evaluation.counting import count_by_comparing, count_by_sorting, find_within
from tpr.evaluation.scores import Products

WAYS = [count_by_comparing, count_by_sorting]


@pytest.mark.parametrize("count", WAYS)
def test_counts_worked_out_by_hand(count: object) -> None:
    scores = torch.tensor([[0.1, 0.5, 0.5, 0.9, 0.3], [0.0, 0.0, 0.0, 0.0, 0.0]])
    low = torch.tensor([[0.3, 0.9], [0.0, 0.1]])
    high = torch.tensor([[0.5, 1.0], [0.0, 0.2]])
    above, near = count(scores, low, high)  # type: ignore[operator]
    assert above.tolist() == [[1, 0], [0, 0]]
    assert near.tolist() == [[3, 1], [5, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threaded_gallery", [1, 10**9])
@pytest.mark.parametrize("matches", [1, 9])
def test_all_ways_of_counting_agree(
    dtype: torch.dtype, matches: int, threaded_gallery: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "THREADED_GALLERY", threaded_gallery)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    generator = torch.Generator().manual_seed(0)
    scores = (torch.randn(7, 400, generator=generator, dtype=dtype) * 50).round() / 50
    own = scores[:, :matches]
    one, other = (way(scores, own - 0.03, own + 0.03) for way in WAYS)
    assert torch.equal(one.above, other.above) and torch.equal(one.near, other.near)


def test_margin_covers_the_error_of_float32_scores() -> None:
    generator = torch.Generator().manual_seed(1)
    for width, offset in ((16, 0.0), (512, 0.0), (128, 100.0), (512, 3.0), (2048, 3.0)):
        queries, features = (torch.randn(50, width, generator=generator) + offset for _ in range(2))
        scores = Products(queries, features)
        scores.start(torch.arange(50).numpy(), ())
        error = (scores.quick().double() - scores.exact()).abs().max()
        assert error < counting.MARGIN / 2


@pytest.mark.parametrize("threaded_gallery", [1, 10**9])
@pytest.mark.parametrize("matches", [1, 9])
def test_windows_are_found_by_a_search(
    matches: int, threaded_gallery: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "THREADED_GALLERY", threaded_gallery)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(7, 4000, generator=generator)
    low, high = scores[:, :matches] - 5e-4, scores[:, :matches] + 5e-4
    unclear = count_by_sorting(scores, low, high).near > 1
    inside = (scores[:, None] >= low[..., None]) & (scores[:, None] <= high[..., None])
    by_hand = torch.nonzero(inside.flatten(0, 1) & unclear.flatten()[:, None])
    assert torch.equal(torch.stack(find_within(scores, low, high, unclear), dim=1), by_hand)
    assert len(by_hand) > matches
