"""Parameters of which only some belong to the quick tests."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_except(quick: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """Parameters for `parametrize`, in their order: those that are not among `quick` are slow tests."""
    values = list(values)
    assert all(value in values for value in quick), "a quick value that is not there"
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
