"""A path as it is typed: `~`, what no file system can hold, and every place where one is typed."""

import pwd
import re
from pathlib import Path

import pytest

import tpr
from tpr.commands.arguments import type_word
from tpr.config.paths import type_path
from tpr.config.resolved import plain_value
from tpr.config.schema import DataOptions
from tpr.errors import ConfigError

COMMANDS = Path(tpr.__file__).parent / "commands"


def forget_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(user: int) -> None:
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", refuse)


def test_the_home_folder_takes_the_place_of_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/tests")
    assert type_path("~") == Path("/home/of/tests")
    assert type_path("~/x") == Path("/home/of/tests/x")
    assert type_path("~root") == Path(pwd.getpwnam("root").pw_dir)
    assert type_path("a/~/x") == Path("a/~/x")


def test_the_home_folder_of_nobody_is_one_line_with_a_way_out() -> None:
    message = (
        "there is no user 'no_such_user'; write ./ before a name that begins with ~, got '~no_such_user/x'"
    )
    with pytest.raises(ConfigError, match=message):
        type_word("~no_such_user/x", Path)
    assert type_path("./~no_such_user/x") == Path("~no_such_user/x")


@pytest.mark.parametrize("path", ["~no_such_user/x", "~/x", "~", "a/~", "/a"])
def test_a_path_is_written_as_it_must_be_typed(path: str) -> None:
    assert type_path(plain_value({"root": Path(path)})["root"]) == Path(path)


@pytest.mark.parametrize("text", ["\u202f", "\u3000 x", "a" * 255, "é" * 127, "-", "a\nb"])
def test_a_name_that_a_file_can_have_is_fine(text: str) -> None:
    assert type_path(text) == Path(text)


@pytest.mark.parametrize("text", ["", "a\0b", "a" * 256, "é" * 128, "a/" * 2048, "\ud800"])
def test_a_name_that_no_file_can_have_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^expected a path.*, got '[^\n]*$"):
        type_word(text, Path)


def test_without_a_home_folder_only_its_sign_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_home(monkeypatch)
    message = r"expected a whole path, since no home folder is known \(set HOME\), got '~/x'"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        type_word("~/x", Path)
    assert type_path("x") == Path("x")
    monkeypatch.setenv("TPR_DATA", "~/x")
    with pytest.raises(ConfigError, match=f"^the environment variable TPR_DATA: {message}$"):
        DataOptions()


def test_tpr_data_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/tests")
    monkeypatch.setenv("TPR_DATA", "~/data")
    assert DataOptions().root == Path("/home/of/tests/data")


def test_no_command_reads_words_by_looser_types() -> None:
    loose = re.compile(r"type=(Path|int|float)\b")
    assert [path.name for path in COMMANDS.glob("*.py") if loose.search(path.read_text())] == []
