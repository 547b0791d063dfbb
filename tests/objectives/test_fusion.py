"""Losses between modalities by hand, cut over ranks, and what they leave unmoved."""

import math

import pytest
import torch

from tpr.objectives.fusion import follow_scores, orthogonality


def draw(seed, rows=5, width=4):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_orthogonality_by_hand():
    features = torch.tensor([[2.0, 0], [0, 3]])
    differences = torch.tensor([[0.0, 1], [-5, 0]])
    # Products: 0 and -1, 1 and 0; lengths do not matter.
    assert float(orthogonality(features, differences)) == pytest.approx(0.5)


def test_following_by_hand():
    columns = torch.tensor([[1.0, 0], [0, 1]])
    features, leaders = torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[1.0, 0], [0, 4]])
    # Leaders score 1 and 0 for their own column, followers the other way round.
    high = math.e / (1 + math.e)
    wanted = -(high * math.log(1 - high) + (1 - high) * math.log(high))
    assert float(follow_scores(features, leaders, columns, 1.0)) == pytest.approx(wanted)


def test_leaders_are_not_moved_and_followers_and_columns_are():
    features, leaders, columns = (draw(seed).requires_grad_() for seed in range(3))
    follow_scores(features, leaders, columns, 5.0).backward()
    assert leaders.grad is None
    assert features.grad.abs().max() > 0 and columns.grad.abs().max() > 0


def test_a_follower_that_scores_as_its_leader_has_no_gradient():
    features, columns = draw(1).requires_grad_(), draw(2)
    follow_scores(features, features.detach(), columns, 3.0).backward()
    assert features.grad.abs().max() < 1e-12


def test_shares_of_two_ranks_add_up():
    features, leaders, columns = draw(1), draw(2), draw(3)
    parts = (slice(0, 3), slice(3, 5))
    found = sum(follow_scores(features[part], leaders[part], columns, 5.0, 5) for part in parts)
    torch.testing.assert_close(found, follow_scores(features, leaders, columns, 5.0))
    found = sum(orthogonality(features[part], columns[part], columns) for part in parts)
    torch.testing.assert_close(found, orthogonality(features, columns))
