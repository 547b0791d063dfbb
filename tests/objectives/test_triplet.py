"""TAL and TRL by hand, against a slow twin, cut over ranks, at the edges; pairs of several captions."""

import math

import pytest
import torch

from tpr.objectives import Gathered, itc, sdm, tal
from tpr.objectives.contrastive import normalise
from tpr.objectives.per_pair import PairLabels, PairObjective, loss_per_pair
from tpr.objectives.triplet import tal_rows, trl, trl_rows

IDENTITY = torch.tensor([0, 0, 1, 2, 2, 3])
LOSSES = ["tal", "trl", "infonce", "sdm"]


def draw(rows, width=8, seed=0, dtype=torch.float64):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def objective(loss, tau=0.1, margin=0.2, scale=10.0):
    return PairObjective(loss=loss, tau=tau, margin=margin, scale=scale)


def slow_tal_row(scores, matches, tau, margin):
    weights = [math.exp(score / tau) for score, match in zip(scores, matches, strict=True) if match]
    positives = [score for score, match in zip(scores, matches, strict=True) if match]
    negatives = [score for score, match in zip(scores, matches, strict=True) if not match]
    positive = sum(w * score for w, score in zip(weights, positives, strict=True)) / sum(weights)
    return max(0.0, margin - positive + tau * math.log(sum(math.exp(score / tau) for score in negatives)))


def test_tal_of_two_pairs_by_hand():
    scores = torch.tensor([[0.5, 0.7], [0.1, 0.9]])
    # One positive and one negative each: margin - positive + negative, captions then images.
    wanted = [0.1 - 0.5 + 0.7, 0.1 - 0.5 + 0.1, 0.1 - 0.9 + 0.1, 0.1 - 0.9 + 0.7]
    rows = [max(0.0, value) for value in wanted]
    found = tal(scores, torch.tensor([3, 8]), 0.015, 0.1)
    torch.testing.assert_close(found, torch.tensor([rows[0] + rows[1], rows[2] + rows[3]]))


@pytest.mark.parametrize("seed", range(3))
def test_tal_equals_its_slow_twin(seed):
    scores = torch.tanh(draw(6, 6, seed=seed))
    matches = (IDENTITY[:, None] == IDENTITY).tolist()
    wanted = [
        slow_tal_row(scores[i].tolist(), matches[i], 0.1, 0.2)
        + slow_tal_row(scores[:, i].tolist(), matches[i], 0.1, 0.2)
        for i in range(6)
    ]
    torch.testing.assert_close(tal(scores, IDENTITY, 0.1, 0.2), torch.tensor(wanted, dtype=torch.float64))


def test_trl_never_meets_a_negative_below_zero():
    scores = torch.tensor([[0.05, -0.5], [-0.6, 0.05]])
    # The hardest negative of -0.5 counts as the zero that stands where the match was.
    torch.testing.assert_close(trl(scores, torch.tensor([0, 1]), 0.02, 0.2), torch.full((2,), 2 * 0.15))


@pytest.mark.parametrize("function", [tal, trl])
def test_one_identity_alone_has_finite_losses_and_gradients(function):
    scores = (0.5 + 0.1 * torch.rand(4, 4, generator=torch.Generator().manual_seed(1))).requires_grad_()
    loss = function(scores, torch.zeros(4, dtype=torch.int64), 0.015, 0.1)
    loss.sum().backward()
    assert not loss.any()
    assert torch.equal(scores.grad, torch.zeros(4, 4))


def test_a_row_without_negatives_leaves_the_others_alone():
    scores = draw(3, 4, dtype=torch.float32).requires_grad_()
    columns = torch.tensor([0, 0, 0, 0])
    loss = tal_rows(scores, torch.tensor([0, 0, 0]), columns, 0.1, 0.2)
    wider = torch.cat([scores, torch.full((3, 1), 0.3)], dim=1)
    mixed = tal_rows(wider, torch.tensor([0, 0, 0]), torch.tensor([0, 0, 0, 0, 1]), 0.1, 0.2)
    (loss.sum() + mixed.sum()).backward()
    assert not loss.any() and mixed.any()
    assert torch.isfinite(scores.grad).all() and scores.grad.any()


def test_a_small_temperature_overflows_nothing():
    scores = torch.eye(3).requires_grad_()
    loss = tal(scores, torch.arange(3), 1e-4, 0.1)
    assert torch.equal(loss, torch.zeros(3))
    harder = tal(1 - scores, torch.arange(3), 1e-4, 0.1)
    # Two negatives at 1, the match at 0.
    torch.testing.assert_close(harder, torch.full((3,), 2 * (1.1 + 1e-4 * math.log(2))))
    harder.sum().backward()
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("function", [tal, trl])
def test_half_precision_scores_are_computed_in_float32(function):
    scores = torch.tanh(draw(6, 6)).bfloat16()
    found = function(scores, IDENTITY, 0.015, 0.1)
    assert found.dtype == torch.float32
    assert torch.equal(found, function(scores.float(), IDENTITY, 0.015, 0.1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found, function(scores, IDENTITY, 0.015, 0.1))


def test_the_weights_of_matches_have_no_gradient():
    scores = torch.tensor([[0.2, 0.4, 0.9]], dtype=torch.float64, requires_grad=True)
    row, columns = torch.tensor([0]), torch.tensor([0, 0, 1])
    tal_rows(scores, row, columns, 0.1, 0.2).sum().backward()
    weights = torch.softmax(torch.tensor([2.0, 4.0], dtype=torch.float64), dim=0)
    torch.testing.assert_close(scores.grad[0], torch.tensor([-weights[0], -weights[1], 1.0]).double())


@pytest.mark.parametrize("rows", [tal_rows, trl_rows])
def test_no_row_gives_no_loss_that_is_connected(rows):
    scores = torch.zeros(0, 3, requires_grad=True)
    loss = rows(scores, torch.zeros(0, dtype=torch.int64), torch.arange(3), 0.1, 0.2)
    assert loss.shape == (0,)
    loss.sum().backward()
    assert scores.grad.shape == (0, 3)


@pytest.mark.parametrize("loss", LOSSES)
def test_swapping_both_sides_changes_nothing(loss):
    images, texts = draw(6), draw(6, seed=1)
    labels = PairLabels(IDENTITY, IDENTITY, torch.arange(6))
    one = loss_per_pair(images, texts, labels, objective(loss))
    torch.testing.assert_close(loss_per_pair(texts, images, labels, objective(loss)), one)


def test_the_means_are_the_losses_of_whole_batches():
    images, texts = draw(6), draw(6, seed=1)
    labels = PairLabels(IDENTITY, IDENTITY, torch.arange(6))
    for loss, whole in (("sdm", sdm(images, texts, IDENTITY, 10.0)), ("infonce", itc(images, texts, 10.0))):
        torch.testing.assert_close(loss_per_pair(images, texts, labels, objective(loss)).mean(), whole)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("captions", [1, 2])
def test_pairs_of_all_ranks_are_those_of_one_process(loss, captions):
    images, texts = draw(6).requires_grad_(), draw(6 * captions, seed=1).requires_grad_()
    owner = torch.arange(6).repeat_interleave(captions)
    text_identity = IDENTITY[owner]
    whole = loss_per_pair(images, texts, PairLabels(IDENTITY, text_identity, owner), objective(loss))
    parts = []
    for start, stop in ((0, 4), (4, 6), (6, 6)):
        rows = slice(start * captions, stop * captions)
        everyone = Gathered(
            image_features=images,
            text_features=texts,
            identity=IDENTITY,
            text_identity=text_identity,
            image_start=start,
            text_start=start * captions,
        )
        labels = PairLabels(IDENTITY[start:stop], text_identity[rows], owner[rows] - start)
        parts.append(loss_per_pair(images[start:stop], texts[rows], labels, objective(loss), everyone))
    torch.testing.assert_close(torch.cat(parts), whole)
    weights = torch.arange(1.0, len(whole) + 1)
    wanted = torch.autograd.grad((weights * whole).sum(), [images, texts])
    found = torch.autograd.grad((weights * torch.cat(parts)).sum(), [images, texts])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("loss", LOSSES)
def test_captions_of_one_image_share_its_row(loss):
    images, texts, owner = draw(3), draw(5, seed=1), torch.tensor([0, 0, 1, 2, 2])
    identity = torch.tensor([4, 5, 4])
    labels = PairLabels(identity, identity[owner], owner)
    found = loss_per_pair(images, texts, labels, objective(loss))
    scores = normalise(texts) @ normalise(images).T
    if loss == "infonce":
        captions = -torch.log_softmax(10 * scores, dim=1)[range(5), owner]
        by_image = -torch.log_softmax(10 * scores.T, dim=1)[owner, range(5)]
        wanted = (captions + by_image) / 2
    else:
        compare = objective(loss).compare_rows
        of_texts, of_images = (
            compare(scores, identity[owner], identity),
            compare(scores.T, identity, identity[owner]),
        )
        wanted = of_texts + of_images[owner]
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    identity = torch.tensor([0, 1, 0])
    labels = PairLabels(identity, identity, torch.arange(3))
    # A margin that no pair keeps: the losses are smooth there. TAL's and TRL's weights have no gradient by
    # design, so each identity has one match here.
    if loss in ("tal", "trl"):
        labels = PairLabels(torch.arange(3), torch.arange(3), torch.arange(3))
    features = (draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(
        lambda image, text: loss_per_pair(image, text, labels, objective(loss, margin=3.0)), features
    )
