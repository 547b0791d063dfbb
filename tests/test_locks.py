"""Locks of output folders, and files that are whole or not there."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Processes
from tpr.errors import BusyError, ConfigError
from tpr.locks import LOCK_FILE, hold_folder, hold_made_folder, is_held, take_turns
from tpr.whole_files import open_whole, remove_partials, write_whole

HOLDER = """
import sys
from pathlib import Path
from tpr.locks import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_another_process_wrote_before_the_folder_was_held_is_seen(tmp_path: Path) -> None:
    folder, answers = tmp_path / "out", iter([True, False])

    def check(asked: Path) -> None:
        assert asked == folder
        if not next(answers):
            raise ConfigError("is there already")

    with pytest.raises(ConfigError, match="is there already"), hold_made_folder(folder, check):
        raise AssertionError("nothing is written")
    assert not is_held(folder)


Start = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def start_holder(processes: Processes) -> Start:
    """Starts a process that holds a folder until its input ends."""

    def start(folder: Path) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", HOLDER, str(folder)]
        process = processes.start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    return start


def test_a_held_folder_is_refused_in_one_sentence_until_its_process_is_killed(
    tmp_path: Path, start_holder: Start
) -> None:
    process = start_holder(tmp_path)
    try:
        assert is_held(tmp_path)
        sentence = "another process is at work there; wait for it"
        with pytest.raises(BusyError, match=sentence), hold_folder(tmp_path):
            pytest.fail("the folder is held by another process")
    finally:
        process.kill()
        process.communicate()
    assert not is_held(tmp_path)
    with hold_folder(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()


def test_a_made_folder_goes_again_where_it_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for path in ("a/b/c", "there", "there/new"):
        with pytest.raises(ValueError, match="refused"), hold_made_folder(tmp_path / path):
            assert is_held(tmp_path / path)
            raise ValueError("refused")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not (tmp_path / "there/new").exists()
    with pytest.raises(ValueError, match="refused"), hold_made_folder(tmp_path / "kept"):
        (tmp_path / "kept/work").touch()
        raise ValueError("refused")
    assert (tmp_path / "kept/work").exists()
    with hold_made_folder(tmp_path / "whole"):
        pass
    assert (tmp_path / "whole").is_dir()


def test_taking_turns_waits_for_the_holder(tmp_path: Path, start_holder: Start) -> None:
    with start_holder(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.close()
        with take_turns(tmp_path / LOCK_FILE):
            pass
    assert process.returncode == 0


def test_a_folder_that_cannot_be_locked_is_worked_on_all_the_same(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    with hold_folder(tmp_path):
        write_whole(tmp_path / "file", "content")
    assert (tmp_path / "file").read_text() == "content"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with open_whole(path) as first:
        first.write(b"a" * 100_000)
        with open_whole(path) as second:
            second.write(b"b" * 10)
        assert path.read_bytes() == b"b" * 10
        first.write(b"a" * 100_000)
    assert path.read_bytes() == b"a" * 200_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_the_first_error_is_the_one_that_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    with pytest.raises(OSError) as caught, open_whole(path) as file:
        # What is buffered cannot be written when the file is closed, as on a full disk.
        file.write(b"new")
        os.close(file.fileno())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".4711-0a1b2c3d.partial").write_bytes(b"half")
    (tmp_path / "kept.partial.txt").write_bytes(b"whole")
    remove_partials(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.partial.txt"]
