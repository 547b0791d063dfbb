import pytest
import torch
from torch import nn

from tpr.config.schema import OptimOptions
from tpr.engine.optim import build_optimizer, gradient_norm, group_parameters, set_rates
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


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_step_marked_bad_changes_neither_parameters_nor_state(name):
    system = Toy()
    optimizer = build_optimizer(system, OptimOptions(name=name, lr=1e-2))
    give_gradients(system, 0)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    before = [parameter.clone() for parameter in system.parameters()]
    steps = [float(state["step"]) for state in optimizer.state.values() if "step" in state]
    for parameter in system.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(float("nan"))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, system.parameters(), strict=True))
    assert steps == [float(state["step"]) for state in optimizer.state.values() if "step" in state]


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
