"""Config files in a temporary folder that is the working folder, so that messages show short paths."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """write("a.yaml", text) -> path relative to the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TPR_DATA", raising=False)

    def write_file(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Path(name)

    return write_file
