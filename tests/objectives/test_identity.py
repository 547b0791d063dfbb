"""Identity classification."""

import math

import pytest
import torch

from tpr.objectives import identity_loss
from tpr.objectives.identity import count_right

LOGITS = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 2.0, 0]])


def test_the_loss_is_the_mean_cross_entropy():
    rows = [math.log(math.e + 2) - 1, math.log(3), math.log(math.exp(2) + 2)]
    assert identity_loss(LOGITS, torch.tensor([0, 1, 2])).item() == pytest.approx(sum(rows) / 3, rel=1e-6)


def test_shares_add_up():
    identity = torch.tensor([0, 1, 2])
    parts = identity_loss(LOGITS[:1], identity[:1], 3) + identity_loss(LOGITS[1:], identity[1:], 3)
    torch.testing.assert_close(parts, identity_loss(LOGITS, identity))


def test_a_rank_without_rows_has_a_zero_connected_to_the_graph():
    weights = torch.randn(4, 3, requires_grad=True)
    loss = identity_loss(torch.zeros(0, 4) @ weights, torch.zeros(0, dtype=torch.int64), 5)
    loss.backward()
    assert loss == 0 and not weights.grad.any()


def test_half_precision_logits_give_a_float32_loss():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert identity_loss(LOGITS.bfloat16(), torch.tensor([0, 1, 2])).dtype == torch.float32


def test_right_rows_are_counted_as_a_share():
    assert count_right(LOGITS, torch.tensor([0, 2, 1]), 4).item() == 0.5
