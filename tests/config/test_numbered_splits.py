"""Splits that may not be mixed."""

from dataclasses import dataclass

import pytest

from tpr.config.numbered_splits import NumberedSplit, check_splits
from tpr.config.schema import Choice
from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Cut:
    split: str = "file"


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
