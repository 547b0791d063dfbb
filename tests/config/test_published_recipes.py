"""What the recipes of papers train with: the published settings, whatever the defaults of options become."""

from pathlib import Path

import pytest
import torch

from tpr.config.schema import Experiment
from tpr.config.typed import read_experiment
from tpr.models import ClipOptions
from tpr.objectives.consensus import MixtureOptions
from tpr.systems import TABLES
from tpr.systems.base import Setting
from tpr.systems.rde import Rde, RdeOptions

FOLDER = Path(__file__).parents[2] / "configs"
MIXTURES = {
    False: MixtureOptions(iterations=10, tolerance=1e-2, added_variance=5e-4),
    True: MixtureOptions(iterations=100, tolerance=1e-4, added_variance=1e-6),
}
"""RDE's, by whether many pairs are wrong, or the dataset is RSTPReid."""
IRRA = ("adam", 1e-5, 4e-5, (0.9, 0.999), 1e-3)
"""Optimiser, learning rate, decay, betas and eps that IRRA handed down to RDE and MLLM4Text-ReID."""


def list_recipes(folder: str, pattern: str = "*.yaml") -> list[str]:
    return sorted(f"{folder}/{path.name}" for path in (FOLDER / folder).glob(pattern))


def read(recipe: str) -> Experiment:
    return read_experiment(FOLDER / recipe, [], TABLES)


def list_adam(experiment: Experiment) -> tuple[object, ...]:
    optim = experiment.optim
    return (optim.name, optim.lr, optim.weight_decay, optim.betas, optim.eps)


def list_cosine(experiment: Experiment) -> tuple[object, ...]:
    plan = experiment.schedule
    return (plan.name, plan.per, plan.epochs, plan.warmup_epochs, plan.warmup_factor, plan.minimum_factor)


@pytest.mark.parametrize("recipe", list_recipes("irra") + list_recipes("rde"))
def test_irra_and_rde_train_alike(recipe):
    experiment = read(recipe)
    assert list_adam(experiment) == IRRA
    assert list_cosine(experiment) == ("cosine", "epoch", 60, 5, 0.1, 0.0)
    assert (experiment.data.batch, experiment.data.image_size) == (64, (384, 128))
    assert experiment.system.options.bias_lr == 2


@pytest.mark.parametrize("recipe", list_recipes("irra"))
def test_irra_weighs_and_masks_as_published(recipe):
    options = read(recipe).system.options
    losses = options.losses
    assert (losses.sdm, losses.id, losses.mlm, losses.itc, losses.cmpm) == (1, 1, 1, 0, 0)
    kept = (options.temperature, options.mask_rate, options.depth, options.groups, options.new_lr)
    assert kept == (0.02, 0.15, 4, "irra", 5)


@pytest.mark.parametrize("recipe", list_recipes("mllm4text", "pretrain*.yaml"))
def test_pre_training_has_one_rate_and_masks_as_published(recipe):
    experiment = read(recipe)
    options = experiment.system.options
    assert list_adam(experiment) == IRRA
    assert list_cosine(experiment) == ("cosine", "epoch", 30, 5, 0.1, 0.0)
    assert experiment.data.batch == 512
    assert (options.temperature, options.mask_rate) == (0.02, 0.15)


@pytest.mark.parametrize("recipe", list_recipes("rde"))
def test_rde_has_the_published_mixture_and_noise(recipe):
    experiment = read(recipe)
    options, data = experiment.system.options, experiment.data
    rate = {"noise20": 0.2, "noise50": 0.5}.get(recipe.removesuffix(".yaml").rpartition("_")[2], 0.0)
    assert data.noise.rate == rate
    is_noisy = rate > 0.4 or data.train[0].name == "rstpreid"
    assert options.division.mixture == MIXTURES[is_noisy]
    kept = (options.loss, options.tau, options.margin, options.select_ratio, options.augment_text)
    assert kept == ("tal", 0.015, 0.1, 0.3, 0.2)
    assert (options.norm, options.selection_lr, options.selected_width) == ("frozen", 1e-3, 1024)
    assert (options.division.warmup_epochs, options.division.reuse_losses) == (0, False)


def test_rde_has_three_recipes_per_dataset():
    assert len(list_recipes("rde")) == 9


def test_rde_selects_as_many_tokens_as_published():
    with torch.device("meta"):
        setting = Setting(image_size=(384, 128), text_length=77, identities=None, captions=0)
        system = Rde(RdeOptions(), ClipOptions(), setting)
    assert (system.patches, system.words) == (57, 22)
    assert Rde.official.options(system.state_dict()) == RdeOptions()


@pytest.mark.parametrize("recipe", list_recipes("tvi_lfm"))
def test_tvi_lfm_has_the_published_rates(recipe):
    experiment = read(recipe)
    options, plan = experiment.system.options, experiment.schedule
    is_regdb, is_base = "regdb" in recipe, "base" in recipe
    rate = 2e-3 if is_regdb else 3.5e-4
    assert list_adam(experiment) == ("adam", rate, 5e-4, (0.9, 0.999), 1e-8)
    assert (plan.epochs, plan.warmup_epochs, plan.warmup_factor) == (120, 10, 0.01)
    assert (plan.name, plan.milestones, plan.gamma) == ("step", (40, 60, 100), 0.1)
    assert (options.text_bias_lr, options.head_lr, options.triplet) == (2, 2, "published")
    assert (options.visual_bias_lr, options.visual_bias_decay) == (1, 1)
    assert options.visual == ("trained" if is_base else "drifting")
    if not is_base:
        assert (options.text_lr, options.text_bias_decay) == ((1e-5, 0) if is_regdb else (3.5e-4, 1))
    augment = experiment.data.augment
    erased = (augment.erase, augment.erase_law, augment.erase_ratio)
    assert erased == (0.6, "uniform", pytest.approx((0.3, 1 / 0.3)))
    assert (augment.exchange, augment.infrared_grey) == (0.5, 0.6)
