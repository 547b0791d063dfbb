"""The losses between images and captions: by hand, against slow twins, cut over ranks, at the edges."""

import math

import pytest
import torch

from tpr.objectives import Gathered, cmpm, itc, sdm
from tpr.objectives.contrastive import normalise

LOSSES = {
    "itc": lambda image, text, identity, **more: itc(image, text, 10.0, **_drop_identity(more)),
    "sdm": lambda image, text, identity, **more: sdm(image, text, identity, 10.0, **_drop_owner(more)),
    "cmpm": lambda image, text, identity, **more: cmpm(image, text, identity, **_drop_owner(more)),
}


def _drop_identity(more):
    return {key: value for key, value in more.items() if key != "text_identity"}


def _drop_owner(more):
    return {key: value for key, value in more.items() if key != "owner"}


def draw(rows, width=8, seed=0, dtype=torch.float64):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slow_divergence(logits, labels, epsilon=1e-8):
    total = 0.0
    for row in range(len(logits)):
        weights = [math.exp(value) for value in logits[row].tolist()]
        for column, weight in enumerate(weights):
            share = weight / sum(weights)
            total += share * (math.log(share) - math.log(labels[row][column] + epsilon))
    return total / len(logits)


def slow_sdm(image, text, identity, text_identity, scale):
    unit_image, unit_text = (side / side.norm(dim=1, keepdim=True) for side in (image, text))
    total = 0.0
    for rows, columns, row_identity, column_identity in (
        (unit_text, unit_image, text_identity, identity),
        (unit_image, unit_text, identity, text_identity),
    ):
        labels = [[float(one == other) for other in column_identity] for one in row_identity]
        labels = [[value / sum(row) for value in row] for row in labels]
        total += slow_divergence(scale * rows @ columns.T, labels)
    return total


def test_itc_of_three_pairs_by_hand():
    # Unit vectors at right angles except one wrong pair: cosines are the rows below.
    image = torch.eye(3)
    text = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]])
    scale = 2.0
    match, other = math.exp(2), 1.0
    # Captions: two find their image, the third prefers image 1 over its own image 2.
    captions = 2 * -math.log(match / (match + 2 * other)) - math.log(other / (match + 2 * other))
    # Images: image 1 is torn between two captions, image 2 likes none.
    images = -math.log(match / (match + 2 * other)) - math.log(match / (2 * match + other)) + math.log(3)
    assert itc(image, text, scale).item() == pytest.approx((captions + images) / 6, rel=1e-6)


def test_sdm_of_three_pairs_by_hand():
    # Identities 0, 0, 1 and all features equal: every share is 1/3.
    same = torch.ones(3, 4)
    half, one, none = math.log(0.5 + 1e-8), math.log(1 + 1e-8), math.log(1e-8)
    rows = 2 * (math.log(1 / 3) - (2 * half + none) / 3) + (math.log(1 / 3) - (one + 2 * none) / 3)
    assert sdm(same, same, torch.tensor([0, 0, 1]), 50.0).item() == pytest.approx(2 * rows / 3, rel=1e-6)


def test_cmpm_divides_matches_by_the_root_of_their_number():
    same = torch.zeros(2, 4)
    # Zero features: shares are 1/2; both match, so labels are 1/sqrt(2).
    wanted = 2 * (math.log(0.5) - math.log(2**-0.5 + 1e-8))
    assert cmpm(same, same, torch.tensor([7, 7])).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_sdm_equals_its_slow_twin(seed):
    image, text = draw(5, seed=seed), draw(8, seed=seed + 10)
    identity = torch.tensor([0, 1, 2, 1, 4])
    text_identity = identity[torch.tensor([0, 0, 1, 2, 2, 3, 4, 4])]
    found = sdm(image, text, identity, 10.0, text_identity=text_identity)
    assert found.item() == pytest.approx(slow_sdm(image, text, identity, text_identity, 10.0), rel=1e-9)


@pytest.mark.parametrize("name", list(LOSSES))
def test_swapping_both_sides_changes_nothing(name):
    image, text, identity = draw(6), draw(6, seed=1), torch.tensor([0, 0, 1, 2, 2, 3])
    one, other = LOSSES[name](image, text, identity), LOSSES[name](text, image, identity)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_order_of_pairs_changes_nothing(name):
    image, text, identity = draw(6), draw(6, seed=1), torch.tensor([0, 0, 1, 2, 2, 3])
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(
        LOSSES[name](image[order], text[order], identity[order]), LOSSES[name](image, text, identity)
    )


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_are_those_of_finite_differences(name):
    identity = torch.tensor([0, 1, 0])
    features = (draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda image, text: LOSSES[name](image, text, identity), features)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("captions", [1, 2])
def test_shares_of_ranks_add_up_to_the_whole(name, captions):
    image, text = draw(6).requires_grad_(), draw(6 * captions, seed=1).requires_grad_()
    identity = torch.tensor([0, 0, 1, 2, 2, 3])
    owner = torch.arange(6).repeat_interleave(captions)
    whole = LOSSES[name](image, text, identity, text_identity=identity[owner], owner=owner)
    wanted = torch.autograd.grad(whole, [image, text])
    total = 0.0
    for start, stop in ((0, 4), (4, 6), (6, 6)):
        texts = slice(start * captions, stop * captions)
        everyone = Gathered(
            image_features=image,
            text_features=text,
            identity=identity,
            text_identity=identity[owner],
            image_start=start,
            text_start=start * captions,
        )
        total = total + LOSSES[name](
            image[start:stop],
            text[texts],
            identity[start:stop],
            text_identity=identity[owner][texts],
            owner=owner[texts] - start,
            gathered=everyone,
        )
    torch.testing.assert_close(total, whole)
    torch.testing.assert_close(torch.autograd.grad(total, [image, text]), wanted)


def test_soft_labels_cut_over_ranks_add_up_as_well():
    image, text = draw(6), draw(6, seed=1)
    identity, owner = torch.tensor([0, 0, 1, 2, 2, 0]), torch.tensor([0, 1, 2, 3, 3, 0])
    everyone = {
        "image_features": image,
        "text_features": text,
        "identity": identity,
        "text_identity": identity,
    }
    total = sum(
        sdm(
            image[part],
            text[part],
            identity[part],
            10.0,
            image_id=owner[part],
            gathered=Gathered(**everyone, image_id=owner, text_image_id=owner, image_start=part.start),
        )
        for part in (slice(0, 2), slice(2, 6))
    )
    torch.testing.assert_close(total, sdm(image, text, identity, 10.0, image_id=owner))


def test_soft_labels_without_gathered_images_are_refused():
    image, identity = draw(2), torch.tensor([0, 1])
    everyone = Gathered(image_features=image, text_features=image, identity=identity, text_identity=identity)
    with pytest.raises(ValueError, match="image_id and text_image_id in `gathered`"):
        sdm(image, image, identity, 10.0, image_id=identity, gathered=everyone)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_computed_in_float32(name, dtype):
    image, text, identity = draw(6).to(dtype), draw(6, seed=1).to(dtype), torch.tensor([0, 0, 1, 2, 2, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LOSSES[name](image, text, identity)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, LOSSES[name](image.float(), text.float(), identity), rtol=0, atol=0)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_vectors_and_one_identity_stay_finite(name, dtype):
    image, text = draw(4, dtype=dtype), draw(4, seed=1, dtype=dtype)
    image[1] = text[2] = 0
    image.requires_grad_(), text.requires_grad_()
    loss = LOSSES[name](image, text, torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert torch.isfinite(loss) and loss.dtype == dtype
    assert torch.isfinite(image.grad).all() and torch.isfinite(text.grad).all()
    assert image.grad.abs().max() < 100


def test_a_single_pair_is_no_error():
    one = draw(1)
    identity = torch.tensor([3])
    assert itc(one, one, 50.0) == 0
    assert abs(sdm(one, one, identity, 50.0)) < 1e-7


def test_unit_rows_have_length_one_whatever_their_length():
    rows = torch.tensor([[3.0, 4.0], [3e-11, 4e-11], [0.0, 0.0], [3e15, 4e15]])
    torch.testing.assert_close(normalise(rows)[[0, 1, 3]], torch.tensor([[0.6, 0.8]] * 3))
    assert (normalise(rows)[2] == 0).all()


def test_no_float_matrix_of_labels_is_made():
    identity = torch.arange(300) // 2
    image, text = draw(300, 2, dtype=torch.float32), draw(300, 2, seed=1, dtype=torch.float32)
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        floats = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.shape == (300, 300) and result.is_floating_point():
                Count.floats += "where" not in str(function)
            return result

    with Count():
        sdm(image, text, identity, 50.0)
    # Logits, log-shares, shares, difference and product of each direction; the target is the `where`.
    assert Count.floats == 10
