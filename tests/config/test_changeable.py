"""Which options make another run, for every option that there is."""

import pytest

from tpr.config.changeable import drop_changeable, find_differences, is_changeable
from tpr.config.hints import walk_options
from tpr.config.schema import Experiment
from tpr.systems import TABLES

CHANGEABLE = {
    "name",
    "data.cache",
    # A bound on memory; results do not depend on it beyond rounding, as on compile and device.
    "evaluation.batch",
    "runtime.device",
    "runtime.workers",
    "runtime.start",
    "runtime.compile",
    "runtime.output",
    "runtime.log_every_steps",
    "runtime.save_every_steps",
    # How long, not what: a run that was cut goes on with the same weights.
    "runtime.max_steps",
    "runtime.max_bad_steps",
    "runtime.resume",
    "runtime.timeout_seconds",
    "report.tensorboard",
    "report.ranking_queries",
    "report.published",
    "report.finetune",
}
COUNTING = {
    "seed",
    "data.root",
    "data.train",
    "data.test",
    "data.batch",
    "data.unit",
    "data.captions_per_image",
    "data.sampler",
    "data.images_per_identity",
    "data.rephrased",
    "data.image_size",
    "data.text_length",
    "data.on_bad_image",
    "data.max_image_pixels",
    "schedule.epochs",
    "schedule.name",
    "schedule.warmup_epochs",
    "schedule.warmup_steps",
    "schedule.warmup_share",
    "schedule.warmup_factor",
    "schedule.minimum_factor",
    "schedule.per",
    "schedule.milestones",
    "schedule.gamma",
    "init.checkpoint",
    "init.config",
    "init.minimum_share",
    "evaluation.every_epochs",
    "evaluation.select_by",
    "evaluation.select_on",
    "evaluation.held_out",
    "evaluation.before",
    "evaluation.intervals",
    "runtime.precision",
}
COUNTING_GROUPS = (
    "system",
    "model",
    "optim",
    "data.augment",
    "data.noise",
    "evaluation.text",
    "evaluation.image",
    "evaluation.visible_infrared",
)
"""All of these, options of table entries included."""
GROUPS = {"data", "schedule", "init", "evaluation", "runtime", "report"}


def test_every_option_stands_on_one_side() -> None:
    options = list(walk_options(Experiment, TABLES))
    assert {option.dotted for option in options if is_changeable(option.field)} == CHANGEABLE
    for option in options:
        if option.dotted.startswith("report.published[]"):
            continue  # within an option that stands on its side as a whole
        counts = option.dotted in COUNTING or option.dotted.startswith(("data.train[]", *COUNTING_GROUPS))
        sides = [option.dotted in GROUPS, option.dotted in CHANGEABLE, counts]
        assert sides.count(True) == 1, f"{option.dotted}: say here whether it makes another run"


def test_dropping_goes_into_groups_and_leaves_no_empty_ones() -> None:
    tree = {
        "name": "x",
        "seed": 1,
        "system": {"name": "irra", "batch": 1},
        "evaluation": {"batch": 3, "before": True},
        "report": {"tensorboard": True},
        "runtime": {"precision": "bf16", "workers": 2},
        "of an older version": 7,
    }
    assert drop_changeable(tree, Experiment) == {
        "seed": 1,
        "system": {"name": "irra", "batch": 1},
        "evaluation": {"before": True},
        "runtime": {"precision": "bf16"},
        "of an older version": 7,
    }


@pytest.mark.parametrize(
    ("one", "other", "differences"),
    [
        ({"optim": {"lr": 0.1}}, {"optim": {"lr": 0.2}}, ["optim.lr is 0.1 and not 0.2"]),
        ({"a": 1}, {"b": 2}, ["a is 1 and not null", "b is null and not 2"]),
        ({"size": (2, 3)}, {"size": [2, 3]}, []),
    ],
)
def test_differences_name_the_entry_and_both_values(
    one: dict[str, object], other: dict[str, object], differences: list[str]
) -> None:
    assert find_differences(one, other) == differences
