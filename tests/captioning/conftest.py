"""What tests of captions share: tiny models, and the log afterwards as it was before."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.captioning.tiny_models import build_tiny
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny models, each built when a test first asks for it."""
    built: dict[str, Path] = {}

    def find(family: str) -> Path:
        if family not in built:
            built[family] = build_tiny(family, tmp_path_factory.mktemp("models") / family)
        return built[family]

    return find
