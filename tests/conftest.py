"""What all tests share: no process outlives its test, and what was imported is collected once."""

import gc
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.processes import Processes, end_forked

# Libraries make a million objects that stay: looking through them again and again costs a tenth of all time.
gc.disable()

# A shell starts a background job with Ctrl-C ignored, which children inherit; tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    end_forked()


@pytest.fixture(autouse=True)
def logging_is_as_at_the_start() -> Iterator[None]:
    """A command sets the level, handlers and streams of its log, which the next test does not expect."""
    # Before the test as well: fixtures of a module run commands, too, and come before this one.
    reset_logging()
    yield
    reset_logging()


def reset_logging() -> None:
    logger = logging.getLogger("tpr")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    if logger.level != logging.NOTSET:
        logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every drawn dataset as published, with two test identities per benchmark; not to be changed."""
    from tpr.drawn import draw_world

    # Worker processes of one test run have folders side by side, and draw it once for all.
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "world"
    with FileLock(f"{root}.lock"):
        draw_world(root, sets=["all"], identities=2, workers=1)
    return root


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts processes that end with the test."""
    with Processes() as started:
        yield started
