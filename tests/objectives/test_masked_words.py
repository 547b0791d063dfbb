"""Masked words: exact at labelled positions, whatever the size of the index."""

import math

import pytest
import torch
import torch.nn.functional as F

from tpr.objectives import LabelledPositions, masked_word_loss
from tpr.objectives.masked_words import bound_labelled, masked_word_accuracy

VOCABULARY = 11


@pytest.fixture
def captions():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, VOCABULARY, (6, 9), generator=generator)
    labels[torch.rand((6, 9), generator=generator) < 0.7] = 0
    states = torch.randn((6, 9, 4), generator=generator, dtype=torch.float64)
    return states, labels


def full_loss(states, labels, head):
    return F.cross_entropy((states @ head).flatten(0, 1), labels.flatten(), ignore_index=0)


@pytest.mark.parametrize("spare", [0, 1, 7, 1000])
def test_the_loss_and_its_gradient_are_those_of_all_positions(captions, spare):
    states, labels = captions
    head = torch.randn(4, VOCABULARY, dtype=torch.float64, requires_grad=True)
    states.requires_grad_()
    wanted = full_loss(states, labels, head)
    wanted_gradients = torch.autograd.grad(wanted, [states, head])
    positions = LabelledPositions.pad(labels, int(labels.count_nonzero()) + spare)
    found = masked_word_loss(states.flatten(0, 1)[positions.index] @ head, positions)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, [states, head]), wanted_gradients)


def test_labelled_positions_come_first_and_in_order(captions):
    labels = captions[1]
    positions = LabelledPositions.find(labels)
    assert positions.index.tolist() == labels.flatten().nonzero().flatten().tolist()
    assert positions.labels.tolist() == labels[labels != 0].tolist()


def test_more_labels_than_places_make_the_loss_infinite_instead_of_wrong(captions):
    states, labels = captions
    positions = LabelledPositions.pad(labels, int(labels.count_nonzero()) - 1)
    assert math.isinf(masked_word_loss(torch.zeros(len(positions.index), VOCABULARY), positions))


def test_a_step_without_labels_has_a_zero_connected_to_the_graph():
    states = torch.randn(2, 3, 4, requires_grad=True)
    positions = LabelledPositions.find(torch.zeros(2, 3, dtype=torch.int64))
    head = torch.ones(4, VOCABULARY, requires_grad=True)
    logits = states.flatten(0, 1)[positions.index] @ head
    loss = masked_word_loss(logits, positions)
    loss.backward()
    assert loss == 0 and masked_word_accuracy(logits, positions) == 0
    assert not states.grad.any() and not head.grad.any()


def test_shares_are_divided_by_the_labels_of_all_ranks(captions, monkeypatch):
    states, labels = captions
    head = torch.randn(4, VOCABULARY, dtype=torch.float64)
    wanted = full_loss(states, labels, head)
    total = labels.count_nonzero()
    monkeypatch.setattr("tpr.objectives.masked_words.sum_over_ranks", lambda count: total)
    found = 0.0
    for part in (slice(0, 1), slice(1, 6)):
        positions = LabelledPositions.find(labels[part])
        found += masked_word_loss(states[part].flatten(0, 1)[positions.index] @ head, positions)
    torch.testing.assert_close(found, wanted)


def test_accuracy_counts_labelled_positions_only():
    labels = torch.tensor([[0, 3, 0, 5]])
    positions = LabelledPositions.pad(labels, 4)
    logits = torch.zeros(4, VOCABULARY)
    logits[0, 3] = logits[1, 4] = logits[2, 0] = logits[3, 0] = 1.0
    assert masked_word_accuracy(logits, positions).item() == 0.5


@pytest.mark.parametrize(("captions", "length", "rate"), [(64, 77, 0.15), (1, 77, 0.15), (512, 24, 0.5)])
def test_the_bound_is_far_above_what_masking_yields_and_below_everything(captions, length, rate):
    eligible = captions * (length - 2)
    bound = bound_labelled((captions, length), rate)
    deviation = math.sqrt(eligible * rate * (1 - rate))
    assert bound >= eligible * rate + 8 * deviation
    assert bound <= captions * length
    if captions > 1:
        assert bound < 0.85 * captions * length
    draws = torch.rand(200, eligible, generator=torch.Generator().manual_seed(0)) < rate
    assert (draws.sum(dim=1) + captions).max() <= bound


def test_the_bound_is_chernoffs():
    # For n = 4800 and p = 0.15 the relative entropy passes 46.05 / 4800 (1e-20) between 971 and 972.
    n, p = 4800, 0.15

    def exponent(k):
        share = k / n
        return n * (share * math.log(share / p) + (1 - share) * math.log((1 - share) / (1 - p)))

    size = bound_labelled((64, 77), p) - 64
    assert exponent(size) >= 20 * math.log(10) > exponent(size - 1)


@pytest.mark.parametrize(("rate", "wanted"), [(0.0, 3), (1.0, 12)])
def test_the_bound_at_certainty_counts_exactly(rate, wanted):
    # None of 3 x (5 - 2) words, or all nine; and one forced word for each of three captions.
    assert bound_labelled((3, 5), rate) == wanted
