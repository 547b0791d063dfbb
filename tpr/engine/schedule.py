"""The learning rate over a run: linear warm-up, then cosine, linear, steps, linear with steps, or constant.

Source: IRRA's scheduler, stepped once per epoch: epoch e uses t = e - 1, so the first epoch runs at
`warmup_factor` times the base rate and the last one a little above zero. With `per: step` and a
`warmup_factor` of 0, linear and linear_step are APTM's two schedules.
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
    steps = schedule.epochs * steps_per_epoch
    if steps > MOST_STEPS:
        raise ConfigError(
            f"schedule.epochs={show_value(schedule.epochs)} of {steps_per_epoch:,} steps each are more than "
            f"can be counted ({MOST_STEPS:,}); lower it"
        )
    if schedule.has_decay and schedule.warmup_steps is not None and schedule.warmup_steps >= steps:
        raise ConfigError(
            f"schedule.warmup_steps={schedule.warmup_steps:,} leaves no step of {steps:,} (schedule.epochs="
            f"{schedule.epochs} of {steps_per_epoch:,} steps each); lower the first or raise the second"
        )
    # Rates grow only at milestones and until the warm-up ends.
    turns = {1, schedule.epochs, *(after + 1 for after in schedule.milestones)}
    for epoch in sorted(epoch for epoch in turns if epoch <= schedule.epochs):
        try:
            factor = rate_factor(schedule, epoch, 0.0, steps_per_epoch)
        except OverflowError:
            factor = math.inf
        if not math.isfinite(factor):
            raise ConfigError(
                f"schedule.gamma={show_value(schedule.gamma)}: the rate of epoch {epoch} is beyond all "
                "numbers; lower it, or leave out milestones"
            )


def rate_factor(
    schedule: ScheduleOptions, epoch: int, share_of_epoch: float = 0.0, steps_per_epoch: int = 1
) -> float:
    """Factor on every base rate in `epoch` (from 1).

    share_of_epoch: counts only with `per: step`. steps_per_epoch: counts only with `warmup_steps`.
    """
    time = epoch - 1 + (share_of_epoch if schedule.per == "step" else 0.0)
    warmup_epochs = count_warmup(schedule, steps_per_epoch)
    factor = 1.0
    if time < warmup_epochs:
        done = time / warmup_epochs
        factor = schedule.warmup_factor * (1 - done) + done
    elif schedule.has_decay:
        done = (time - warmup_epochs) / (schedule.epochs - warmup_epochs)
        left = 0.5 * (1 + math.cos(math.pi * done)) if schedule.name == "cosine" else 1 - done
        factor = schedule.minimum_factor + (1 - schedule.minimum_factor) * left
    return factor * multiply_drops(schedule, time)


def count_warmup(schedule: ScheduleOptions, steps_per_epoch: int) -> float:
    """Epochs of warm-up, whole or not."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps / steps_per_epoch
    if schedule.warmup_share is not None:
        return schedule.warmup_share * schedule.epochs
    return schedule.warmup_epochs


def multiply_drops(schedule: ScheduleOptions, time: float) -> float:
    """Factor of the milestones passed after `time` epochs; 1 for schedules without."""
    if schedule.name not in ("step", "linear_step"):
        return 1.0
    passed = bisect_right(schedule.milestones, time)
    if isinstance(schedule.gamma, tuple):
        return math.prod(schedule.gamma[:passed])
    return schedule.gamma**passed
