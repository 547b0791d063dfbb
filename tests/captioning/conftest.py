"""What tests of captions share: tiny models."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.captioning.tiny_models import build_tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny models, each built when a test first asks for it; not to be changed."""
    built: dict[str, Path] = {}

    def find(family: str) -> Path:
        if family not in built:
            built[family] = build_tiny(family, tmp_path_factory.mktemp("models") / family)
        return built[family]

    return find
