"""The learning rate over a run: linear warm-up, then cosine to zero, steps, or constant.

Source: IRRA's scheduler, stepped once per epoch: epoch e uses t = e - 1, so the first epoch runs at
`warmup_factor` times the base rate and the last one a little above zero.
"""

import math
from bisect import bisect_right

from tpr.config.messages import show_value
from tpr.config.schema import ScheduleOptions
from tpr.errors import ConfigError

MOST_STEPS = 2**53
"""Steps of a run beyond this one have no exact number among floats."""


def check_schedule(schedule: ScheduleOptions, steps_per_epoch: int) -> None:
    """Refuse a run whose steps or rates are beyond what numbers can hold. Raises ConfigError."""
    if schedule.epochs * steps_per_epoch > MOST_STEPS:
        raise ConfigError(
            f"schedule.epochs={show_value(schedule.epochs)} of {steps_per_epoch:,} steps each are more than "
            f"can be counted ({MOST_STEPS:,}); lower it"
        )
    turns = {1, schedule.warmup_epochs + 1, schedule.epochs, *(after + 1 for after in schedule.milestones)}
    for epoch in sorted(epoch for epoch in turns if epoch <= schedule.epochs):
        try:
            factor = rate_factor(schedule, epoch)
        except OverflowError:
            factor = math.inf
        if not math.isfinite(factor):
            raise ConfigError(
                f"schedule.gamma={schedule.gamma:g}: the rate of epoch {epoch} is beyond all numbers; lower "
                "it, or leave out milestones"
            )


def rate_factor(schedule: ScheduleOptions, epoch: int, share_of_epoch: float = 0.0) -> float:
    """Factor on every base rate in `epoch` (from 1); the share counts only with `per: step`."""
    time = epoch - 1 + (share_of_epoch if schedule.per == "step" else 0.0)
    warmup = 1.0
    if time < schedule.warmup_epochs:
        done = time / schedule.warmup_epochs
        warmup = schedule.warmup_factor * (1 - done) + done
    if schedule.name == "step":
        return warmup * schedule.gamma ** bisect_right(schedule.milestones, time)
    if schedule.name == "constant" or time < schedule.warmup_epochs:
        return warmup
    done = (time - schedule.warmup_epochs) / (schedule.epochs - schedule.warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * done))
