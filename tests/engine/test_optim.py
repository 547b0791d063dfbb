from copy import deepcopy
from typing import get_type_hints

import pytest
import torch
from torch import nn

from tests.engine.small_runs import states_are_equal
from tpr.config.schema import PUBLISHED_BETAS, OptimOptions
from tpr.engine.optim import (
    OPTIMIZERS,
    build_optimizer,
    find_entry,
    gradient_norm,
    group_parameters,
    set_rates,
    step_unless,
)
from tpr.systems.base import GroupRule, Setting, System


class Toy(System):
    def __init__(self):
        super().__init__(Setting(image_size=(1, 1), text_length=3, identities=None, captions=0))
        self.tower = nn.Linear(3, 4)
        self.cross = nn.Linear(4, 2)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    def parameter_groups(self, optim):
        return [
            GroupRule(pattern="bias$", lr=2.0, weight_decay=0.0),
            GroupRule(pattern="^cross", lr=5.0),
        ]


def give_gradients(system, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in system.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_first_matching_rule_decides_and_equal_groups_are_joined():
    groups = group_parameters(Toy(), OptimOptions(lr=1e-2, weight_decay=0.1))
    found = {(group["lr"], group["weight_decay"]): group["names"] for group in groups}
    assert found == {
        (1e-2, 0.1): ["tower.weight"],
        (2e-2, 0.0): ["tower.bias", "cross.bias"],
        (5e-2, 0.1): ["cross.weight"],
    }


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_grouped_fused_update_equals_torch_with_one_group_per_tensor(name):
    torch.manual_seed(0)
    ours, reference = Toy(), Toy()
    reference.load_state_dict(ours.state_dict())
    options = OptimOptions(name=name, lr=1e-2, eps=1e-3, weight_decay=0.1)
    optimizer = build_optimizer(ours, options)
    groups = [
        {
            "params": [parameter],
            "lr": 1e-2 * (2 if label.endswith("bias") else 5 if label.startswith("cross") else 1),
            "weight_decay": 0.0 if label.endswith("bias") else 0.1,
        }
        for label, parameter in reference.named_parameters()
        if parameter.requires_grad
    ]
    plain = {
        "adam": lambda: torch.optim.Adam(groups, eps=1e-3, foreach=False),
        "adamw": lambda: torch.optim.AdamW(groups, eps=1e-3, foreach=False),
        "sgd": lambda: torch.optim.SGD(groups, momentum=0.9, foreach=False),
    }[name]()
    for step in range(5):
        give_gradients(ours, step)
        give_gradients(reference, step)
        optimizer.step()
        plain.step()
    for mine, other in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


GOOD, BAD = torch.tensor(0.0), torch.tensor(1.0)


def build(name, system):
    return build_optimizer(system, OptimOptions(name=name, betas=PUBLISHED_BETAS[name], lr=1e-2, eps=1e-8))


def make_good_step(system, optimizer, seed):
    give_gradients(system, seed)
    step_unless(GOOD, optimizer)


def make_bad_step(system, optimizer):
    give_gradients(system, 99)
    system.cross.bias.grad[0] = float("nan")
    step_unless(BAD, optimizer)


def test_the_options_name_every_optimiser_of_the_table():
    assert set(get_type_hints(OptimOptions)["name"].__args__) == set(OPTIMIZERS) == set(PUBLISHED_BETAS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_entry_says_what_its_optimiser_holds(name):
    system = Toy()
    optimizer = build(name, system)
    make_good_step(system, optimizer, 0)
    entry = find_entry(optimizer)
    assert entry is OPTIMIZERS[name]
    assert all(state.keys() == entry.state for state in optimizer.state.values())
    assert len(optimizer.state) == 4
    for group in optimizer.param_groups:
        assert all(type(group[counter]) is int for counter in entry.counters)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_step_changes_neither_parameters_nor_state(name):
    system = Toy()
    optimizer = build(name, system)
    make_good_step(system, optimizer, 0)
    before = deepcopy((system.state_dict(), optimizer.state_dict()))
    make_bad_step(system, optimizer)
    assert states_are_equal(before, (system.state_dict(), optimizer.state_dict()))
    make_good_step(system, optimizer, 1)
    assert not states_are_equal(before[0], system.state_dict())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_first_step_leaves_no_trace_in_those_that_follow(name):
    torch.manual_seed(0)
    clean, hit = Toy(), Toy()
    hit.load_state_dict(clean.state_dict())
    optimizers = build(name, clean), build(name, hit)
    make_bad_step(hit, optimizers[1])
    for seed in range(3):
        make_good_step(clean, optimizers[0], seed)
        make_good_step(hit, optimizers[1], seed)
    assert states_are_equal(clean.state_dict(), hit.state_dict())
    assert states_are_equal(optimizers[0].state_dict(), optimizers[1].state_dict())


def test_a_first_step_of_sgd_that_is_left_out_reads_no_memory_that_nobody_wrote():
    system = Toy()
    optimizer = build("sgd", system)
    make_bad_step(system, optimizer)
    momenta = [state["momentum_buffer"] for state in optimizer.state.values()]
    assert len(momenta) == 4
    assert not any(momentum.any() for momentum in momenta)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float16_scaling_leaves_out_the_same_steps(name):
    system = Toy()
    optimizer, scaler = build(name, system), torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.zeros(()))
    make_good_step(system, optimizer, 0)
    before = deepcopy((system.state_dict(), optimizer.state_dict()))
    give_gradients(system, 1)
    system.cross.bias.grad[0] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    assert states_are_equal(before, (system.state_dict(), optimizer.state_dict()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stored_optimiser_goes_on_bit_for_bit(name):
    torch.manual_seed(0)
    whole, resumed = Toy(), Toy()
    optimizer = build(name, whole)
    for seed in range(3):
        make_good_step(whole, optimizer, seed)
    resumed.load_state_dict(whole.state_dict())
    second = build(name, resumed)
    second.load_state_dict(deepcopy(optimizer.state_dict()))
    for seed in range(3, 6):
        make_good_step(whole, optimizer, seed)
        make_good_step(resumed, second, seed)
    assert states_are_equal(whole.state_dict(), resumed.state_dict())
    assert states_are_equal(optimizer.state_dict(), second.state_dict())


class Three(System):
    """Three weights without rules."""

    def __init__(self):
        super().__init__(Setting(image_size=(1, 1), text_length=3, identities=None, captions=0))
        self.weights = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def parameter_groups(self, optim):
        return []


def test_adan_by_hand():
    system = Three()
    optim = OptimOptions(name="adan", betas=(0.98, 0.92, 0.99), lr=0.1, eps=1e-8, weight_decay=0.02)
    optimizer = build_optimizer(system, optim)
    gradients = [0.1, -0.2, 0.3], [0.2, 0.1, -0.1], [-0.3, 0.4, 0.2]
    expected = (
        [0.8982036, -1.8962076, 0.3992016],
        [0.8058559, -1.9239497, 0.4221663],
        [0.8332881, -1.9838536, 0.3953608],
    )
    # The first by hand: one step of 0.1 against the sign, then division by 1 + 0.1 * 0.02.
    assert expected[0][0] == pytest.approx((1 - 0.1) / 1.002, abs=1e-7)
    for gradient, values in zip(gradients, expected, strict=True):
        system.weights.grad = torch.tensor(gradient)
        step_unless(GOOD, optimizer)
        torch.testing.assert_close(system.weights.detach(), torch.tensor(values), rtol=0, atol=2e-7)


def test_rates_follow_each_groups_own_base():
    optimizer = build_optimizer(Toy(), OptimOptions(lr=1e-2))
    set_rates(optimizer, 0.5)
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([5e-3, 1e-2, 2.5e-2])


def test_gradient_norm_is_over_all_parameters_and_shows_a_nan():
    system = Toy()
    give_gradients(system, 3)
    expected = sum(float((p.grad**2).sum()) for p in system.parameters() if p.grad is not None) ** 0.5
    assert float(gradient_norm(system)) == pytest.approx(expected, rel=1e-6)
    system.cross.bias.grad[0] = float("nan")
    assert not torch.isfinite(gradient_norm(system))
