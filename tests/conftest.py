"""What all tests share: no forked process outlives its test."""

from collections.abc import Iterator

import pytest

from tests.processes import Processes, end_forked


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    end_forked()


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts processes that end with the test."""
    with Processes() as started:
        yield started
