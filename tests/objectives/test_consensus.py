"""Dividing pairs by the losses of two embeddings: right, repeatable, finite where there is little to see."""

import numpy as np
import pytest
import torch

from tpr.config.typed import build_options
from tpr.errors import ConfigError
from tpr.objectives.consensus import (
    Division,
    DivisionOptions,
    MixtureOptions,
    cut_in_two,
    find_clean,
    fit_mixture,
    mark_clean,
    settle,
    vote,
)

TIGHT = MixtureOptions(iterations=100, tolerance=1e-4, added_variance=1e-6)
LOOSE = MixtureOptions()
HEADS, TAILS = np.ones(400, dtype=bool), np.zeros(400, dtype=bool)


def draw_losses(noisy=100, count=400, gap=1.0, seed=0):
    """Low losses, and `noisy` high ones at random places."""
    rng = np.random.RandomState(seed)
    is_noisy = rng.permutation(count) < noisy
    losses = 0.3 + 0.05 * rng.standard_normal((count, 2)) + gap * is_noisy[:, None]
    return losses, is_noisy


@pytest.mark.parametrize("options", [LOOSE, TIGHT], ids=["loose", "tight"])
@pytest.mark.parametrize("noisy", [20, 100, 300])
def test_two_heaps_are_told_apart(options, noisy):
    losses, is_noisy = draw_losses(noisy)
    assert (find_clean(losses, options, HEADS) == ~is_noisy).all()


def test_a_disagreement_is_drawn():
    losses, is_noisy = draw_losses()
    losses[:3, 0], losses[:3, 1] = 0.3, 1.3
    for draws in (HEADS, TAILS):
        clean = find_clean(losses, TIGHT, draws)
        assert (clean[:3] == draws[:3]).all()
        assert (clean[3:] == ~is_noisy[3:]).all()
    one, two, draws = (np.array(votes) > 0 for votes in ([1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]))
    assert settle(one, two, draws).tolist() == [True, False, True, False]


def test_one_heap_does_not_depend_on_any_draw():
    losses = np.random.RandomState(1).rand(500)
    one, two = fit_mixture(losses, LOOSE), fit_mixture(losses, LOOSE)
    np.random.seed(5)
    three = fit_mixture(losses, LOOSE)
    assert (one.probability == two.probability).all() and (one.probability == three.probability).all()
    order = np.random.RandomState(2).permutation(500)
    np.testing.assert_allclose(
        fit_mixture(losses[order], LOOSE).probability, one.probability[order], atol=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_cut_leaves_the_least_variance(seed):
    values = np.random.RandomState(seed).rand(12) ** 2
    ordered = np.sort(values)
    within = [ordered[:k].var() * k + ordered[k:].var() * (12 - k) for k in range(1, 12)]
    best = 1 + int(np.argmin(within))
    found = cut_in_two(values)
    np.testing.assert_allclose(found.means, [ordered[:best].mean(), ordered[best:].mean()])
    np.testing.assert_allclose(found.variances, [ordered[:best].var(), ordered[best:].var()])
    np.testing.assert_allclose(found.weights, [best / 12, 1 - best / 12])
    assert (found.probability == (values < ordered[best])).all()


def test_where_all_look_clean_one_per_cent_and_one_are_noisy():
    assert mark_clean(np.array([0.6, 0.7, 0.8, 0.9])).tolist() == [False, True, True, True]
    assert mark_clean(np.array([0.4, 0.5, 0.6])).tolist() == [False, False, True]
    assert (~mark_clean(0.6 + 0.3 * np.random.RandomState(0).rand(250))).sum() == 3


@pytest.mark.parametrize("losses", [[0.0, 0.0, 0.0], [0.7]])
def test_losses_without_a_difference_are_all_clean(losses):
    both = np.array([losses, losses]).T
    assert vote(both[:, 0], LOOSE).all()
    assert find_clean(both, LOOSE, np.zeros(len(losses), dtype=bool)).all()


def test_two_pairs_are_divided_without_a_warning():
    assert vote(np.array([0.1, 0.9]), LOOSE).tolist() == [True, False]
    assert vote(np.array([0.9, 0.1]), TIGHT).tolist() == [False, True]


def test_what_was_never_measured_is_clean_and_disturbs_nobody():
    losses, is_noisy = draw_losses()
    losses[::7] = np.nan
    losses[1, 1] = np.inf
    clean = find_clean(losses, TIGHT, TAILS)
    seen = np.isfinite(losses).all(axis=1)
    assert clean[~seen].all()
    assert (clean[seen] == ~is_noisy[seen]).all()
    assert find_clean(np.full((5, 2), np.nan), TIGHT, TAILS[:5]).all()


def make_division(losses):
    division = Division(DivisionOptions(mixture=TIGHT), len(losses))
    division.losses.fill(torch.from_numpy(losses).float())
    return division


def test_marks_are_kept_per_caption():
    losses, is_noisy = draw_losses()
    division = make_division(losses)
    captions = torch.tensor([5, 0, 399, 17])
    assert division.read_marks(captions).all()
    division.divide(seed=1, epoch=1, device=torch.device("cpu"))
    assert division.read_marks(captions).tolist() == (~is_noisy[captions]).tolist()


def test_draws_follow_seed_and_epoch():
    losses, _ = draw_losses(noisy=200)
    losses[:, 1] = losses[::-1, 1]

    def divide(seed, epoch):
        division = make_division(losses)
        division.divide(seed, epoch, torch.device("cpu"))
        return division.read_marks(torch.arange(400))

    assert torch.equal(divide(1, 1), divide(1, 1))
    assert not torch.equal(divide(1, 1), divide(1, 2))
    assert not torch.equal(divide(1, 1), divide(2, 1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixture": {"iterations": 0}}, "mixture.iterations: expected int >= 1, got 0"),
        ({"mixture": {"tolerance": -1}}, "mixture.tolerance: expected float >= 0, got -1"),
        ({"mixture": {"added_variance": 0}}, "mixture.added_variance: expected float > 0, got 0"),
        ({"warmup_epochs": -1}, "warmup_epochs: expected int >= 0, got -1"),
    ],
)
def test_options_without_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(DivisionOptions, values, {})
