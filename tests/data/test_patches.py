"""Drawn patches: as many as asked for, all alike, a function of seed, epoch and sample alone."""

import pytest
import torch

from tpr.data.images.patches import draw_patches

SAMPLES = torch.arange(4000)


@pytest.mark.parametrize(("share", "kept"), [(0.5, 6), (0.25, 3), (0.99, 12), (0.01, 1)])
def test_as_many_patches_as_asked_for_each_once_and_in_order(share, kept):
    patches = draw_patches(SAMPLES, 12, share, seed=1, epoch=1)
    assert patches.shape == (4000, kept)
    assert (patches[:, 1:] > patches[:, :-1]).all()
    assert patches.min() >= 0 and patches.max() < 12


def test_every_patch_is_kept_as_often():
    counts = draw_patches(SAMPLES, 12, 0.5, seed=1, epoch=1).flatten().bincount(minlength=12)
    # binomial: 4,000 draws at 1/2 have a deviation of 32
    assert ((counts - 2000).abs() < 5 * 32).all()


def test_draws_depend_on_seed_epoch_and_sample_alone():
    whole = draw_patches(SAMPLES, 12, 0.5, seed=1, epoch=1)
    assert torch.equal(draw_patches(SAMPLES[7:9], 12, 0.5, seed=1, epoch=1), whole[7:9])
    for seed, epoch in ((2, 1), (1, 2)):
        assert not torch.equal(draw_patches(SAMPLES, 12, 0.5, seed=seed, epoch=epoch), whole)
    assert len(torch.unique(whole[:100], dim=0)) > 90
