"""Datasets with several published splits, which share people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tpr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NumberedSplit:
    """Options of a dataset with several published splits: each tests people whom another one trains."""

    split: int
    """Which of them, from 1."""


def check_splits(train: Sequence[Any], test: Sequence[Any]) -> None:
    """Refuse to test on another numbered split of a dataset than it is trained on, which shares people.

    train, test: the choices of datasets. Raises ConfigError.
    """
    for number, tested in enumerate(test):
        if not isinstance(tested.options, NumberedSplit):
            continue
        split = tested.options.split
        for trained in (choice.options for choice in train if choice.name == tested.name):
            own = trained.split
            if own != split:
                raise ConfigError(
                    f"data.test[{number}] '{tested.name}' is split {split}, but split {own} is trained on, "
                    f"which holds people of the other; test on split {own}"
                )
