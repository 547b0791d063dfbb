import fcntl
import io
import logging
import os
import select
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tpr.errors import TrainingError
from tpr.report import console
from tpr.report.console import ProgressLine, configure_logging, format_duration, say


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    package = logging.getLogger("tpr")
    state = (package.handlers[:], package.level, package.propagate)
    yield
    for handler in package.handlers:
        if handler not in state[0]:
            handler.close()
    package.handlers[:], package.level, package.propagate = state


def test_lines_reach_screen_and_file_and_tables_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(tmp_path / "log.txt", main=True)
    logging.getLogger("tpr.engine.trainer").info("resumed at step %d", 7)
    logging.getLogger("tpr.data").warning("odd split")
    logging.getLogger("tpr.data").debug("not shown")
    say("a table\nof two lines")
    screen = capsys.readouterr()
    assert screen.out == "resumed at step 7\na table\nof two lines\n"
    assert screen.err == "warning: odd split\n"
    log = (tmp_path / "log.txt").read_text()
    assert "INFO tpr.engine.trainer: resumed at step 7" in log
    assert "WARNING tpr.data: odd split" in log
    assert "a table\nof two lines" in log and "not shown" not in log


def test_a_second_start_appends_to_the_log(tmp_path: Path) -> None:
    for word in ("first", "second"):
        configure_logging(tmp_path / "log.txt", main=True)
        logging.getLogger("tpr").info(word)
    assert [line.split()[-1] for line in (tmp_path / "log.txt").read_text().splitlines()] == [
        "first",
        "second",
    ]


def test_other_ranks_are_silent_unless_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tpr.processes.is_main_rank", lambda: False)
    configure_logging(tmp_path / "log.txt")
    logging.getLogger("tpr.x").warning("heard from rank zero already")
    logging.getLogger("tpr.x").error("rank 1: broken")
    say("hello")
    progress = ProgressLine(10, terminal=True)
    progress.advance(10)
    progress.report("epoch 1", loss=1.0, pairs_per_second=1.0)
    screen = capsys.readouterr()
    assert (screen.out, screen.err) == ("", "error: rank 1: broken\n")
    assert not (tmp_path / "log.txt").exists()


def test_a_log_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the log cannot be written"):
        configure_logging(tmp_path / "missing" / "log.txt", main=True)


def test_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    configure_logging(tmp_path / "log.txt", main=True)
    with ProgressLine(1000, done=200) as progress:
        for seconds in (0, 1, 11):
            clock[0] = seconds
            progress.advance(100)
            progress.report(f"epoch 1  at {seconds} s", loss=2.5, pairs_per_second=50.0)
    lines = capsys.readouterr().out.splitlines()
    # The second comes too soon for the screen, but the file holds all.
    assert lines == [
        "epoch 1  at 0 s  loss 2.5000  50.0 pairs/s  0:14 left",
        "epoch 1  at 11 s  loss 2.5000  50.0 pairs/s  0:10 left",
    ]
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 3


def test_a_bar_with_loss_speed_and_time_left_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    configure_logging(tmp_path / "log.txt", main=True)
    monkeypatch.setattr("sys.stdout", screen)
    with ProgressLine(100, terminal=True) as progress:
        progress.advance(40)
        progress.report("epoch 1", loss=0.5, pairs_per_second=20.0)
        logging.getLogger("tpr.engine").info("a line in between")
        progress.advance(60)
    text = screen.getvalue()
    assert "loss 0.500, 20.0 pairs/s" in text and "left" in text
    assert "100%" in text and "a line in between" in text
    assert "epoch 1  loss 0.5000" in (tmp_path / "log.txt").read_text()


def test_a_resumed_run_has_one_bar_that_starts_where_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stdout", screen)
    with ProgressLine(100, terminal=True) as progress:
        progress.move_to(40)
        progress.advance(50)
    assert screen.getvalue().count("\n") == 1
    assert " 90/100" in screen.getvalue()
    assert progress.done == 90


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (61, "1:01"), (3661, "1:01:01"), (90061, "1 d 1:01:01"), (1e12, "?")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def read_screen(terminal: int, awaited: str) -> str:
    """What a terminal was sent, up to `awaited`: it arrives in pieces."""
    text = ""
    while awaited not in text and select.select([terminal], [], [], 5)[0]:
        text += os.read(terminal, 65536).decode()
    return text


@pytest.mark.parametrize("columns", [0, 90])
def test_the_bar_is_drawn_on_a_terminal_whether_or_not_it_tells_its_width(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as screen:
        monkeypatch.setattr("sys.stdout", screen)
        with ProgressLine(100) as progress:
            progress.advance(40)
            progress.report("epoch 1", loss=0.5, pairs_per_second=20.0)
        screen.flush()
        text = read_screen(ours, "pairs/s")
    os.close(ours)
    last = text.rstrip().splitlines()[-1].rpartition("\r")[2]
    assert " 40%|" in last and "40/100" in last and "loss 0.500, 20.0 pairs/s" in last


def test_a_line_names_the_parts_of_the_loss_and_a_bar_does_where_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging(tmp_path / "log.txt", main=True)
    with ProgressLine(10, terminal=False) as progress:
        progress.report("step 1", loss=3.0, pairs_per_second=2.0, parts={"sdm": 1.0, "id": 2.0})
    assert "step 1  loss 3.0000 = sdm 1.000 + id 2.000  2.0 pairs/s" in capsys.readouterr().out
    for columns, is_named in ((160, True), (90, False)):
        monkeypatch.setattr(console, "get_width", lambda columns=columns: columns)
        with ProgressLine(10, terminal=True) as progress:
            assert progress.bar is not None
            progress.bar.ncols = columns
            progress.report("step 1", loss=3.0, pairs_per_second=2.0, parts={"sdm": 1.0, "id": 2.0})
            assert ("sdm 1.000" in str(progress.bar.postfix)) == is_named
            assert "loss 3.000" in str(progress.bar.postfix)


def test_a_run_goes_on_without_its_log_where_the_disk_is_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "log.txt").symlink_to("/dev/full")
    configure_logging(tmp_path / "log.txt", main=True)
    for word in ("one", "two"):
        logging.getLogger("tpr").info(word)
    configure_logging(main=True)
    screen = capsys.readouterr()
    assert screen.out == "one\ntwo\n"
    assert (
        screen.err
        == f"warning: {tmp_path / 'log.txt'}: the log cannot be written (No space left on device)\n"
    )
