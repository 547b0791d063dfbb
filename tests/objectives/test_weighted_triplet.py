"""The weighted triplet by hand, against a slow twin, cut over ranks and at the edges."""

import math

import pytest
import torch

from tpr.objectives.triplet import weighted_triplet

PEOPLE = torch.tensor([0, 0, 1, 2, 2, 2])
FORMS = ["exact", "published"]


def draw(rows=6, width=5, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, width, generator=generator, dtype=torch.float64)


def weigh(values, form):
    """Softmax weights of a few numbers; published ones are shifted by the largest of all entries."""
    if form == "exact":
        total = sum(math.exp(value) for value in values)
        return [math.exp(value) / total for value in values]
    shift = max([*values, 0.0])
    shares = [math.exp(value - shift) for value in values]
    return [share / (sum(shares) + 1e-6) for share in shares]


def slow_triplet(rows, people, form):
    """Row by row and pair by pair; a row is a match of itself at 1e-6."""
    losses = []
    for i, row in enumerate(rows):
        distances = [max(float((row - other).norm()), 1e-6) for other in rows]
        same = [d for d, person in zip(distances, people, strict=True) if person == people[i]]
        others = [d for d, person in zip(distances, people, strict=True) if person != people[i]]
        pull = sum(w * d for w, d in zip(weigh(same, form), same, strict=True))
        push = sum(w * d for w, d in zip(weigh([-d for d in others], form), others, strict=True))
        losses.append(math.log1p(math.exp(pull - push)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_a_slow_twin(form, scale, seed):
    rows = draw(seed=seed, scale=scale)
    found = weighted_triplet(rows, PEOPLE, form)
    assert float(found) == pytest.approx(slow_triplet(rows, PEOPLE.tolist(), form), rel=1e-6)


def test_two_people_by_hand():
    rows = torch.tensor([[0.0], [3.0]])
    # Each row has itself at about 0 and one other at 3, of weight 1: log(1 + exp(-3)).
    assert float(weighted_triplet(rows, torch.tensor([0, 1]))) == pytest.approx(
        math.log1p(math.exp(-3)), rel=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_differences(form):
    rows = draw().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: weighted_triplet(x, PEOPLE, form), rows, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_shares_of_two_ranks_add_up(form):
    rows = draw().requires_grad_()
    whole = weighted_triplet(rows, PEOPLE, form)
    shares = [
        weighted_triplet(rows[part], PEOPLE[part], form, all_features=rows, all_identity=PEOPLE)
        for part in (slice(0, 4), slice(4, 6))
    ]
    torch.testing.assert_close(sum(shares), whole)
    wanted = torch.autograd.grad(whole, rows)[0]
    torch.testing.assert_close(torch.autograd.grad(sum(shares), rows)[0], wanted)
    assert weighted_triplet(rows[:0], PEOPLE[:0], form, all_features=rows, all_identity=PEOPLE) == 0


@pytest.mark.parametrize("form", FORMS)
def test_one_person_alone_has_a_finite_gradient(form):
    rows = draw(4).requires_grad_()
    loss = weighted_triplet(rows, torch.zeros(4, dtype=torch.int64), form)
    loss.backward()
    assert torch.isfinite(rows.grad).all()
    assert (loss == 0) == (form == "exact")


def test_far_strangers_keep_their_weight_in_the_exact_form_alone():
    centres = torch.tensor([[0.0, 0], [0.0, 0], [60, 0], [60, 0]])
    rows = centres + torch.tensor([[0.0, 1], [0, -1], [0, 1], [0, -1]])
    people = torch.tensor([0, 0, 1, 1])
    assert float(weighted_triplet(rows, people)) < 1e-6
    # exp(-60) drowns in the 1e-6 that is added: matches 2 apart are pulled, nothing is pushed.
    assert float(weighted_triplet(rows, people, "published")) == pytest.approx(
        math.log1p(math.exp(2 * math.exp(2) / (1 + math.exp(2)))), rel=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_distances_beyond_what_float32_can_exponentiate_stay_finite(form):
    rows = (1000 * draw().float()).requires_grad_()
    loss = weighted_triplet(rows, PEOPLE, form)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(rows.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_widened_and_equal_rows_have_a_gradient(form):
    rows = draw().to(torch.bfloat16)
    rows[1] = rows[0]
    rows.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = weighted_triplet(rows, PEOPLE, form)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, weighted_triplet(rows.float(), PEOPLE, form))
    loss.backward()
    assert torch.isfinite(rows.grad).all()
