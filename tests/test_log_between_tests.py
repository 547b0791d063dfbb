"""What a command of an earlier fixture or test did to the log is not there in the next test."""

import logging
import sys

import pytest

LOGGER = logging.getLogger("tpr")


@pytest.fixture(scope="module", autouse=True)
def command() -> None:
    """Does to the log what a command does; it runs before the fixtures of a single test."""
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    LOGGER.addHandler(logging.StreamHandler(sys.stdout))


@pytest.mark.parametrize("time", ["first", "again"])
def test_the_log_is_as_at_the_start(time: str) -> None:
    assert (LOGGER.level, LOGGER.propagate, LOGGER.handlers) == (logging.NOTSET, True, [])
    LOGGER.setLevel(logging.DEBUG)
