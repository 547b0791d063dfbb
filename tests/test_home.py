"""Cache folders of users with and without a home, and commands of users without a name."""

import ast
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tpr
from tpr.home import _choose_substitute, find_cache_home

PACKAGE = Path(tpr.__file__).parent


@pytest.fixture(autouse=True)
def nothing_said_before() -> Iterator[None]:
    _choose_substitute.cache_clear()
    yield
    _choose_substitute.cache_clear()


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Environment without any place of the user's, and the folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")  # restored afterwards, whoever sets it
    monkeypatch.delenv("HOME")
    return tmp_path


def test_the_named_folder_comes_first_and_home_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "named"))
    assert find_cache_home() == tmp_path / "named"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_cache_home() == tmp_path / ".cache"


def test_a_user_without_name_and_home_gets_a_folder_of_their_own_and_is_told_once(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with caplog.at_level(logging.WARNING):
        assert find_cache_home() == find_cache_home() / "." == temporary / f"tpr-cache-{os.getuid()}"
    assert len(caplog.messages) == 1
    assert "XDG_CACHE_HOME chooses" in caplog.messages[0]


def test_a_home_that_cannot_be_written_to_is_no_home(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).startswith("/proc"))
    assert find_cache_home() == temporary / f"tpr-cache-{os.getuid()}"


def test_nothing_of_the_environment_is_read_at_import() -> None:
    asked = {"environ", "getenv", "expanduser", "home", "getuser", "gettempdir"}
    for path in PACKAGE.rglob("*.py"):
        for node in walk_what_runs_at_import(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else None
            assert name not in asked, f"{path}:{node.lineno}: {name}"  # type: ignore[attr-defined]


def walk_what_runs_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            yield node
            yield from walk_what_runs_at_import(node)


@pytest.mark.slow
def test_every_command_is_imported_without_a_home_or_a_name(tmp_path: Path) -> None:
    code = (
        "import pwd\n"
        "def fail(number): raise KeyError(number)\n"
        "pwd.getpwuid = fail\n"
        "from tpr.cli import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "import tpr.commands.style_run, tpr.data.tables.cache, tpr.models.download, tpr.systems\n"
    )
    kept = ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={name: os.environ[name] for name in kept if name in os.environ} | {"TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
