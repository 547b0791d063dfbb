import json
import math
from pathlib import Path

import pytest

from tpr.config.schema import ScheduleOptions
from tpr.engine.schedule import check_schedule, rate_factor
from tpr.errors import ConfigError

PARITY = json.loads((Path(__file__).parents[1] / "parity" / "irra.json").read_text())


def test_irra_factors_of_all_sixty_epochs():
    schedule = ScheduleOptions(epochs=60, warmup_epochs=5)
    ours = [rate_factor(schedule, epoch) for epoch in range(1, 61)]
    assert ours == pytest.approx(PARITY["lr_factor_by_epoch"], rel=1e-6, abs=1e-12)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 10**300}, r"schedule\.epochs=1000.* of 7 steps each are more than can be counted"),
        (
            {"name": "step", "gamma": 1e200, "milestones": (3, 4), "warmup_epochs": 0},
            r"schedule\.gamma=1e\+200: the rate of epoch 5 is beyond all numbers",
        ),
    ],
)
def test_a_schedule_beyond_numbers_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        check_schedule(ScheduleOptions(**options), 7)


def test_rates_after_the_last_epoch_do_not_matter():
    check_schedule(ScheduleOptions(name="step", gamma=1e200, milestones=(3, 90), epochs=60), 7)
