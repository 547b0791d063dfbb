"""ITC, SDM and CMPM give the published values and gradients (metrics.json, toy cases of the spec)."""

import math

import numpy as np
import pytest
import torch

from tests.parity.fixtures import read_fixture
from tpr.objectives import cmpm, identity_loss, itc, sdm

CASES = read_fixture("metrics")["losses"]
IDENTITY = torch.tensor([0, 1, 0, 2, 3, 1])


def close(found, wanted):
    torch.testing.assert_close(
        torch.as_tensor(found).double(), torch.tensor(wanted).double(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
@pytest.mark.parametrize("name", ["sdm", "sdm_image_id", "itc", "cmpm"])
def test_losses_and_gradients_are_the_published_ones(case, name):
    rng = np.random.RandomState(case["seed"])
    image, text = (
        torch.from_numpy(rng.standard_normal((case["batch"], case["dim"])).astype("float32")).requires_grad_()
        for _ in range(2)
    )
    identity, image_id = torch.tensor(case["pids"]), torch.tensor(case["image_ids"])
    loss = {
        "sdm": lambda: sdm(image, text, identity, 50.0),
        "sdm_image_id": lambda: sdm(image, text, identity, 50.0, image_id=image_id),
        "itc": lambda: itc(image, text, 50.0),
        "cmpm": lambda: cmpm(image, text, identity),
    }[name]()
    loss.backward()
    close(loss.detach(), case[name]["loss"])
    close(image.grad.norm(), case[name]["grad_image_norm"])
    close(text.grad.norm(), case[name]["grad_text_norm"])


@pytest.fixture
def toy():
    row, column = torch.arange(6.0)[:, None], torch.arange(8.0)
    image = torch.cos(1.3 * row + 0.7 * column + 0.5 * row * column) + 0.5
    text = torch.sin(0.9 * row + 1.1 * column + 0.4 * row * column) + 0.5
    close(image[0, :3], [1.5, 1.26484, 0.66997])
    close(text[5, 7], 1.375881)
    return image, text


@pytest.mark.parametrize(("temperature", "wanted"), [(0.02, 20.249399), (0.1, 21.595240), (1.0, 23.982583)])
def test_sdm_of_the_toy_features(toy, temperature, wanted):
    close(sdm(*toy, IDENTITY, 1 / temperature), wanted)


def test_sdm_of_the_toy_features_with_other_labels(toy):
    close(sdm(*toy, torch.arange(6), 50.0), 24.330671)
    close(sdm(*toy, IDENTITY, 50.0, image_id=torch.tensor([0, 1, 2, 3, 4, 1])), 20.303967)
    close(sdm(*toy, IDENTITY, 20.0, epsilon=1e-2) / 2, 2.601209)


def test_itc_cmpm_and_id_of_the_toy_features(toy):
    close(itc(*toy, 50.0), 28.737255)
    close(itc(*toy, 1.0), 2.027466)
    close(cmpm(*toy, IDENTITY), 24.090002)
    sides = [identity_loss(side[:, :4], IDENTITY) for side in toy]
    close(sum(sides) / 2, 1.526459)


def test_sdm_has_its_analytic_values():
    same = torch.ones(4, 8)
    for scale in (1.0, 50.0):
        close(sdm(same, same, torch.arange(4), scale), 2 * (-math.log(4) + 0.75 * math.log(1e8)))
    toy = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).double()
    assert abs(sdm(same.double(), same.double(), torch.zeros(4), 50.0)) < 1e-6
    assert sdm(toy, toy, torch.zeros(5), 50.0) >= -1e-6
    perfect = torch.eye(6, dtype=torch.float64)
    assert abs(sdm(perfect, perfect, torch.arange(6), 50.0)) < 1e-7
