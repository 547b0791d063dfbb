"""The command line itself: words in any order, help with examples, mistakes in one line."""

import argparse
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.screen import Type
from tests.processes import Processes, fork_child
from tpr import processes
from tpr.cli import COMMANDS, build_parser, main, parse
from tpr.errors import ConfigError


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--finetune", "x.pt", "a.yaml", "seed=2", "optim.lr=1e-4"],
        ["train", "a.yaml", "--finetune", "x.pt", "seed=2", "optim.lr=1e-4"],
        ["train", "a.yaml", "seed=2", "--finetune", "x.pt", "optim.lr=1e-4"],
        ["train", "a.yaml", "seed=2", "optim.lr=1e-4", "--finetune=x.pt"],
    ],
    ids=" ".join,
)
def test_settings_may_stand_before_and_behind_options(words: list[str]) -> None:
    namespace = parse(words)
    assert namespace.arguments == ["a.yaml", "seed=2", "optim.lr=1e-4"]
    assert namespace.finetune == Path("x.pt")


def test_settings_alone_may_follow_an_option() -> None:
    assert parse(["train", "--finetune", "x.pt", "data.root=/d"]).arguments == ["data.root=/d"]
    namespace = parse(["evaluate", "--intervals", "x.pt", "--json", "data.test=[cuhk_pedes]", "seed=3"])
    assert (namespace.checkpoint, namespace.arguments) == (Path("x.pt"), ["data.test=[cuhk_pedes]", "seed=3"])
    assert parse(["convert", "x.pt", "--out", "y.pt", "seed=3"]).arguments == ["seed=3"]
    assert parse(["convert", "x.pt"]).arguments == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --finetun x.pt", "train: '--finetun' is not known; `tpr train --help`"),
        ("train a.yaml -x seed=2", "train: '-x' is not known"),
        ("evaluate x.pt --interval seed=2", "evaluate: '--interval' is not known"),
        ("draw out more", "draw: 'more' is not known"),
        ("data pack cuhk_pedes more", "data: 'more' is not known"),
        ("evaluate", "the following arguments are required: checkpoint; `tpr evaluate --help`"),
        ("tarin a.yaml", "argument COMMAND: invalid choice: 'tarin' (did you mean 'train'?); `tpr --help`"),
        ("xyz a.yaml", "argument COMMAND: invalid choice: 'xyz' (choose from"),
        ("data chek cuhk_pedes", "invalid choice: 'chek' (did you mean 'check'?)"),
        ("caption pla a b", "invalid choice: 'pla' (did you mean 'plan'?)"),
        ("draw --identities four out", "argument --identities: expected int, got 'four'"),
    ],
)
def test_words_that_are_not_known_are_named(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(words.split())
    assert message in str(error.value)


def test_a_mistake_in_the_words_is_one_line_and_code_2(type_command: Type) -> None:
    assert type_command("train", "--finetun", "x.pt").message == (
        "tpr: train: '--finetun' is not known; `tpr train --help` shows what is"
    )


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS if name != "data")], ids=str)
def test_help_ends_with_examples_that_can_be_typed(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*words, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    *_, examples = text.partition("examples:\n")
    lines = examples.rstrip().splitlines()
    assert lines
    for line in lines:
        assert line.startswith("  tpr "), line
        if "COMMAND" not in line:
            parse(line.split()[1:])
            assert not words or line.split()[1] == words[0]


@pytest.mark.parametrize("command", ["check", "pack"])
def test_help_of_data_commands_ends_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["data", command, "--help"])
    lines = capsys.readouterr().out.partition("examples:\n")[2].rstrip().splitlines()
    assert lines
    for line in lines:
        assert line.startswith(f"  tpr data {command} ")
        parse(line.split()[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    assert find_summaries(build_parser([name])) == find_summaries(build_parser([])) == COMMANDS


def find_summaries(parser: argparse.ArgumentParser) -> dict[str, str | None]:
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {choice.dest: choice.help for choice in commands._choices_actions}


@pytest.mark.parametrize("words", ["--help", "caption --help", "caption plan --help", "caption run --help"])
def test_a_command_that_needs_no_network_does_not_wait_for_torch(words: str, processes: Processes) -> None:
    code = (
        "import sys\nfrom tpr.cli import main\n"
        f"try:\n    main({words.split()!r})\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert processes.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_ctrl_c_in_a_command_is_one_line_and_code_130(
    command: str, type_command: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(namespace: argparse.Namespace) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal was not heard")

    monkeypatch.setattr("tpr.cli.parse", lambda words: argparse.Namespace(run=interrupt))
    before = signal.getsignal(signal.SIGINT)
    try:
        outcome = type_command(command)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "tpr: stopped by Ctrl-C\n")


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is not the one that speaks for its machine."""
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("second_of_two")
def test_in_a_command_that_needs_no_other_process_each_of_several_speaks(type_command: Type) -> None:
    assert type_command("draw", "--nothing").message.startswith("tpr: ")


@pytest.mark.usefixtures("second_of_two")
def test_a_process_that_is_silent_leaves_the_end_to_the_one_that_speaks(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(
        processes.time, "sleep", lambda seconds: os.write(writer, b"waits") and signal.pause()
    )
    child = fork_child(lambda: main(["train", "--nothing"]))
    os.close(writer)
    assert os.read(reader, 5) == b"waits"
    os.close(reader)
    # As the launcher does when the one that speaks has ended.
    os.kill(child, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("second_of_two")
def test_a_mistake_that_the_speaking_process_does_not_make_is_told_by_another(
    type_command: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SECONDS_FOR_THE_SPEAKER", 0.0)
    before = signal.getsignal(signal.SIGINT)
    try:
        message = type_command("train", "--nothing").message
    finally:
        signal.signal(signal.SIGINT, before)
    assert message.startswith("tpr: ")


def test_a_lost_loader_worker_is_one_line(type_command: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(namespace: argparse.Namespace) -> int:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr("tpr.cli.parse", lambda words: argparse.Namespace(run=lose))
    assert type_command("train").message.startswith(
        "tpr: a loader worker was lost (DataLoader worker (pid 7) is killed by signal: Killed)"
    )
