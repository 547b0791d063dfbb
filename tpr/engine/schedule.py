"""The learning rate over a run: linear warm-up, then cosine to zero, steps, or constant.

Source: IRRA's scheduler, stepped once per epoch: epoch e uses t = e - 1, so the first epoch runs at
`warmup_factor` times the base rate and the last one a little above zero.
"""

import math
from bisect import bisect_right

from tpr.config.schema import ScheduleOptions


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
