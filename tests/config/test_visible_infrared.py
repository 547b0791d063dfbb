"""Options of visible-infrared retrieval, and the splits that may not be mixed."""

from dataclasses import dataclass

import pytest

from tpr.config.schema import Choice
from tpr.config.typed import build_options
from tpr.config.visible_infrared import NumberedSplit, VisibleInfraredOptions, check_splits
from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Cut:
    split: str = "file"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": ("text", "text")}, r"queries must name each choice once, got \['text', 'text'\]"),
        ({"sysu": ()}, r"sysu must name each choice once, got \[\]"),
        ({"directions": ()}, r"directions must name each choice once, got \[\]"),
        ({"text_seed": 2**32}, r"text_seed: expected int in \[0, 2\^32\), got 4294967296"),
        ({"trials": 0}, r"trials: expected int in \[1, 1000\], got 0"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_options(VisibleInfraredOptions, options, {})


def test_no_split_is_tested_on_people_of_another_that_was_trained_on() -> None:
    one, two = (Choice("regdb", NumberedSplit(split=number)) for number in (1, 2))
    message = (
        "data.test[1] 'regdb' is split 2, but split 1 is trained on, which holds people of the other; "
        "test on split 1"
    )
    with pytest.raises(ConfigError) as caught:
        check_splits([one], [Choice("other", NumberedSplit(split=2)), two])
    assert str(caught.value) == message
    check_splits([one], [one, Choice("other", NumberedSplit(split=2))])
    check_splits([], [two])
    check_splits([Choice("rstpreid", Cut())], [Choice("rstpreid", Cut(split="published"))])
