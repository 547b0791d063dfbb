import math

import pytest

from tests.parity.fixtures import read_fixture, read_schedule
from tpr.config.schema import ScheduleOptions
from tpr.engine.schedule import check_schedule, rate_factor
from tpr.errors import ConfigError


def test_irra_factors_of_every_epoch():
    wanted = read_fixture("irra")["lr_factor_by_epoch"]
    schedule = read_schedule(wanted)
    ours = [rate_factor(schedule, epoch) for epoch in range(1, len(wanted) + 1)]
    assert ours == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def test_published_rates_of_single_epochs():
    schedule = ScheduleOptions(epochs=60, warmup_epochs=5)
    published = {1: 1e-6, 2: 2.8e-6, 5: 8.2e-6, 6: 1e-5, 7: 9.991846e-6, 33: 5.14278e-6, 60: 8.15448e-9}
    for epoch, rate in published.items():
        assert 1e-5 * rate_factor(schedule, epoch) == pytest.approx(rate, rel=1e-5)


def test_rate_per_epoch_ignores_the_place_within_it():
    schedule = ScheduleOptions(epochs=10, warmup_epochs=2)
    assert rate_factor(schedule, 4, 0.7) == rate_factor(schedule, 4)


def test_rate_per_step_moves_between_the_epochs():
    schedule = ScheduleOptions(epochs=10, warmup_epochs=2, per="step")
    assert rate_factor(schedule, 1, 0.5) == pytest.approx(0.1 + 0.9 * 0.25)
    assert rate_factor(schedule, 4, 0.5) == pytest.approx(0.5 * (1 + math.cos(math.pi * 1.5 / 8)))


def test_step_schedule_drops_after_its_milestones():
    schedule = ScheduleOptions(epochs=60, warmup_epochs=5, name="step", milestones=(20, 50), gamma=0.1)
    # Milestone 20 counts finished epochs, so epoch 21 is the first at a tenth.
    assert [rate_factor(schedule, epoch) for epoch in (20, 21, 50, 51)] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert rate_factor(schedule, 1) == pytest.approx(0.1)


def test_constant_schedule_warms_up_and_stays():
    schedule = ScheduleOptions(epochs=4, warmup_epochs=2, name="constant")
    assert [rate_factor(schedule, epoch) for epoch in (1, 2, 3, 4)] == pytest.approx([0.1, 0.55, 1, 1])


def test_plips_finetuning_rates_by_hand():
    schedule = ScheduleOptions(
        epochs=30, name="step", warmup_epochs=4, warmup_factor=0.2, milestones=(20,), gamma=0.1
    )
    found = [1e-4 * rate_factor(schedule, epoch) for epoch in range(1, 31)]
    assert found == pytest.approx([2e-5, 4e-5, 6e-5, 8e-5, *[1e-4] * 16, *[1e-5] * 10])


def factors_at(schedule, steps_per_epoch, steps):
    """Factors as the trainer asks for them before these steps, counted from 0."""
    places = [(step // steps_per_epoch, step / steps_per_epoch) for step in steps]
    return [rate_factor(schedule, done + 1, position - done, steps_per_epoch) for done, position in places]


def test_aptms_pretraining_rates_by_hand():
    schedule = ScheduleOptions(epochs=32, name="linear", warmup_steps=2600, warmup_factor=0, per="step")
    check_schedule(schedule, 2518)
    # 80,576 steps: s / 2600, then (80576 - s) / 77976; the last step is the one before 80576.
    expected = {0: 0, 1: 0.000385, 1300: 0.5, 2600: 1, 40288: 0.516672, 80575: 1 / 77976}
    found = factors_at(schedule, 2518, expected)
    assert found == pytest.approx(list(expected.values()), abs=5e-7)
    assert found[-1] == pytest.approx(1 / 77976, rel=1e-6)


def test_aptms_finetuning_rates_by_hand():
    schedule = ScheduleOptions(
        epochs=30,
        name="linear_step",
        warmup_share=0.1,
        warmup_factor=0,
        per="step",
        milestones=(12, 21),
        gamma=(0.5, 0.4),
    )
    # 4,260 steps, warm-up of 426: a half from 4 * 426 on, a fifth from 7 * 426 on.
    expected = {
        1: 0.002347,
        213: 0.5,
        426: 1,
        1703: 0.666927,
        1704: 0.333333,
        2130: 0.277778,
        2981: 0.166797,
        2982: 0.066667,
        4259: 5.2e-5,
    }
    assert factors_at(schedule, 142, expected) == pytest.approx(list(expected.values()), abs=5e-7)


def test_linear_per_epoch_ends_one_step_above_zero():
    schedule = ScheduleOptions(epochs=6, name="linear", warmup_epochs=2)
    found = [rate_factor(schedule, epoch) for epoch in range(1, 7)]
    assert found == pytest.approx([0.1, 0.55, 1, 0.75, 0.5, 0.25])


def test_linear_takes_no_drops_and_linear_step_those_of_step():
    options = {"epochs": 5, "warmup_epochs": 0, "milestones": (1, 3), "gamma": 0.5}
    plain = [rate_factor(ScheduleOptions(name="linear", **options), epoch) for epoch in range(1, 6)]
    drops = [rate_factor(ScheduleOptions(name="step", **options), epoch) for epoch in range(1, 6)]
    both = [rate_factor(ScheduleOptions(name="linear_step", **options), epoch) for epoch in range(1, 6)]
    assert plain == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert drops == [1, 0.5, 0.5, 0.25, 0.25]
    assert both == pytest.approx([1, 0.4, 0.3, 0.1, 0.05])


@pytest.mark.parametrize(("name", "middle"), [("cosine", 0.625), ("linear", 0.625)])
def test_a_minimum_is_where_the_rate_ends(name, middle):
    schedule = ScheduleOptions(epochs=8, name=name, warmup_epochs=0, minimum_factor=0.25, per="step")
    assert rate_factor(schedule, 1) == 1
    assert rate_factor(schedule, 5) == pytest.approx(middle)
    assert rate_factor(schedule, 8, 1 - 1e-9) == pytest.approx(0.25)


@pytest.mark.parametrize("given", [{"warmup_steps": 14}, {"warmup_share": 0.25}, {"warmup_epochs": 2}])
@pytest.mark.parametrize("name", ["cosine", "step", "constant", "linear", "linear_step"])
def test_a_warm_up_is_the_same_in_epochs_steps_or_as_a_share(name, given):
    schedule = ScheduleOptions(epochs=8, name=name, per="step", milestones=(6,), **given)
    found = factors_at(schedule, 7, [0, 7, 13, 14])
    assert found == pytest.approx([0.1, 0.55, 0.1 + 0.9 * 13 / 14, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"warmup_steps": 9, "warmup_share": 0.1, "per": "step"},
            "warmup_steps=9 and warmup_share=0.1 exclude each other; give one",
        ),
        (
            {"warmup_share": 0.1, "warmup_epochs": 3},
            r"warmup_share=0.1 and warmup_epochs=3 exclude each other; give one \(warmup_epochs=0 leaves",
        ),
        ({"warmup_steps": 9}, "warmup_steps=9 needs per=step"),
        (
            {"gamma": (0.5,)},
            r"gamma=\[0.5\] must be one factor, or one for each of milestones=\[20, 50\]",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        ScheduleOptions(**options)


def test_a_warm_up_given_once_stands_beside_no_epochs_or_the_default():
    for epochs in ({}, {"warmup_epochs": 0}, {"warmup_epochs": 5}):
        assert rate_factor(ScheduleOptions(warmup_share=0.5, **epochs), 31) == 1


def test_a_warm_up_that_leaves_no_step_is_refused_where_the_rate_must_fall():
    options = {"epochs": 2, "warmup_steps": 14, "per": "step"}
    message = r"schedule\.warmup_steps=14 leaves no step of 14 \(schedule\.epochs=2 of 7 steps each\)"
    with pytest.raises(ConfigError, match=message):
        check_schedule(ScheduleOptions(name="linear", **options), 7)
    check_schedule(ScheduleOptions(name="constant", **options), 7)
    check_schedule(ScheduleOptions(name="linear", **options), 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 10**300}, r"schedule\.epochs=1000.* of 7 steps each are more than can be counted"),
        (
            {"name": "step", "gamma": 1e200, "milestones": (3, 4), "warmup_epochs": 0},
            r"schedule\.gamma=1e\+200: the rate of epoch 5 is beyond all numbers",
        ),
        (
            {"name": "linear_step", "gamma": (1e200, 1e200), "milestones": (3, 4), "warmup_epochs": 0},
            r"schedule\.gamma=\[?\(?1e\+200, 1e\+200.*: the rate of epoch 5 is beyond all numbers",
        ),
    ],
)
def test_a_schedule_beyond_numbers_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        check_schedule(ScheduleOptions(**options), 7)


def test_rates_after_the_last_epoch_do_not_matter():
    check_schedule(ScheduleOptions(name="step", gamma=1e200, milestones=(3, 90), epochs=60), 7)
