"""Position embeddings of another size."""

import pytest
import torch
import torch.nn.functional as F

from tpr.models.positions import guess_grid, resize_grid, resize_sequence


def test_the_published_square_grid_becomes_tall_as_irra_resizes_it():
    # Row k holds k - 1: the class token -1, the 14 x 14 grid 0 to 195.
    value = torch.arange(-1.0, 196)[:, None]
    resized, how = resize_grid(value, (24, 8), None)
    assert how == "14x14 -> 24x8"
    assert resized.shape == (193, 1)
    first = [-1, 0.375, 2.125, 3.875, 5.625, 7.375, 9.125, 10.875, 12.625]
    torch.testing.assert_close(resized[:9, 0], torch.tensor(first))
    torch.testing.assert_close(resized[9:12, 0], torch.tensor([5.625, 7.375, 9.125]))
    assert resized[-1, 0].item() == pytest.approx(194.625)


def test_an_equal_number_of_patches_in_another_shape_is_resized_all_the_same():
    # 448 x 112 gives 28 x 7 = 196 patches, as many as 14 x 14.
    value = torch.randn(197, 2)
    resized, how = resize_grid(value, (28, 7), None)
    assert how == "14x14 -> 28x7"
    assert not torch.equal(resized, value)


def test_a_known_source_grid_is_believed():
    value = torch.randn(197, 2)
    assert resize_grid(value, (28, 7), (28, 7)) is None
    resized, how = resize_grid(value, (14, 14), (28, 7))
    assert how == "28x7 -> 14x14" and resized.shape == (197, 2)


def test_the_same_grid_needs_nothing():
    assert resize_grid(torch.randn(193, 2), (24, 8), None) is None


@pytest.mark.parametrize(
    ("patches", "target", "wanted"),
    [(196, (24, 8), (14, 14)), (192, (14, 14), (16, 12)), (192, (31, 10), (24, 8)), (7, (24, 8), (7, 1))],
)
def test_an_unknown_grid_is_a_square_or_the_shape_nearest_to_the_target(patches, target, wanted):
    assert guess_grid(patches, target) == wanted


def test_half_precision_positions_keep_their_type():
    resized, _ = resize_grid(torch.randn(5, 2).half(), (3, 1), None)
    assert resized.dtype == torch.float16


def test_text_positions_keep_first_and_last_row_and_interpolate_the_rest():
    value = torch.randn(77, 3)
    longer, how = resize_sequence(value, 100)
    assert how == "77 -> 100" and longer.shape == (100, 3)
    assert torch.equal(longer[0], value[0]) and torch.equal(longer[-1], value[-1])
    inner = F.interpolate(value[None, 1:-1].transpose(1, 2), size=98, mode="linear")[0].T
    torch.testing.assert_close(longer[1:-1], inner)
    assert resize_sequence(value, 77) is None
