"""What tests of the whole program share: a tiny CLIP and a command line to type into."""

from pathlib import Path

import pytest

from tests.cli.screen import Outcome, Type
from tpr.cli import main

TINY_CLIP = (
    "model.architecture={embed_dim: 16, image: {width: 32, layers: 1, heads: 2}, "
    "text: {width: 16, layers: 1, heads: 2}}"
)
"""The published towers, much smaller."""


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder, so that the tiny world is parsed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def surroundings(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the tests' own, no data root from outside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(session_cache))
    monkeypatch.delenv("TPR_DATA", raising=False)


@pytest.fixture
def type_command(capfd: pytest.CaptureFixture[str]) -> Type:
    """Runs `tpr WORDS...` in this process."""

    def run(*words: object) -> Outcome:
        capfd.readouterr()
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def tiny_run(world: Path, tmp_path: Path) -> list[str]:
    """Overrides that make any recipe a run of two steps on the tiny world."""
    return [
        TINY_CLIP,
        "model.weights=null",
        f"data.root={world}",
        "data.batch=8",
        "runtime.workers=0",
        "runtime.max_steps=2",
        "report.ranking_queries=1",  # encoding the image of eight takes longer than two steps
        f"runtime.output={tmp_path / 'runs'}",
    ]
