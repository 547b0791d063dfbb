"""What tests of captions share: the log afterwards as it was before."""

import logging
from collections.abc import Iterator

import pytest

from tpr.report.console import PACKAGE


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Commands set up the package's log; other tests must not notice."""
    package = logging.getLogger(PACKAGE)
    before = (package.handlers[:], package.level, package.propagate)
    yield
    for handler in package.handlers:
        if handler not in before[0]:
            handler.close()
    package.handlers[:], package.level, package.propagate = before
