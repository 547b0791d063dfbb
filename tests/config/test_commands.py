"""`tpr show` and `tpr options` as text."""

import argparse

import pytest

from tests.config.schema_for_tests import BASIC, TABLES
from tpr.commands import options as options_command
from tpr.commands import show as show_command
from tpr.config.reader import read_tree
from tpr.config.typed import build_experiment
from tpr.errors import ConfigError


def show(path, overrides=()):
    tree = read_tree(path, overrides)
    text = show_command.show_experiment(build_experiment(tree, TABLES), tree)
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}, text


def test_show_prints_each_value_with_its_origin(write):
    write("base.yaml", "# first line\noptim: {lr: 2e-5}\nsystem: irra\n")
    text = "base: base.yaml\nmodel:\n  name: clip\ndata:\n  train: [cuhk_pedes, {name: synth_pedes}]\n"
    lines, _ = show(write("a.yaml", text), ["seed=7", "optim.betas=[0.5, 0.6]"])
    assert lines["optim.lr"] == "2.0e-05 base.yaml:2"
    assert lines["system.name"] == "irra base.yaml:3"
    assert lines["system.temperature"] == "0.02 default"
    assert lines["model.name"] == "clip a.yaml:3"
    assert lines["data.train[0].name"] == "cuhk_pedes a.yaml:5"
    assert lines["data.train[1].name"] == "synth_pedes a.yaml:5"
    assert lines["data.train[1].captions"] == "all default"
    assert lines["data.test"] == "[] default"
    assert lines["data.root"] == "data default"
    assert lines["seed"] == "7 command line"
    assert lines["optim.betas"] == "[0.5, 0.6] command line"
    assert lines["name"] == "null default"


def test_show_is_aligned(write):
    _, text = show(write("a.yaml", BASIC))
    columns = {line.index(" default") for line in text.splitlines() if line.endswith(" default")}
    assert len(columns) == 1


def test_show_names_the_environment_variable_of_the_data_root(write, monkeypatch):
    path = write("a.yaml", BASIC)
    monkeypatch.setenv("TPR_DATA", "/d")
    assert show(path)[0]["data.root"] == "/d TPR_DATA"


def test_options_of_one_system_are_printed_alone():
    text = options_command.show_options(TABLES, ["system=rde"], 120)
    assert text.splitlines()[0] == "system=rde:"
    assert "system.tau" in text
    assert "Temperature of the triplet." in text
    assert "system.temperature" not in text
    assert "optim.lr" not in text


def test_options_without_a_choice_print_everything_once():
    text = options_command.show_options(TABLES, [], 120)
    for title in ("every run:", "system=irra:", "system=rde:", "model=clip:", "adapter=synth_pedes:"):
        assert text.splitlines().count(title) == 1
    assert "adapter=cuhk_pedes: no options of its own" in text
    assert text.count("optim.weight_decay ") == 1


def test_options_fit_the_terminal():
    text = options_command.show_options(TABLES, [], 130)
    assert max(map(len, text.splitlines())) <= 140


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("system=ira", "system.name: 'ira' is not known (did you mean 'irra'?); known: irra, rde"),
        ("irra", "tpr options: expected one of system=NAME, model=NAME, adapter=NAME, got 'irra'"),
        (
            "systm=irra",
            "tpr options: expected one of system=NAME, model=NAME, adapter=NAME, got 'systm=irra'",
        ),
    ],
)
def test_an_unknown_choice_of_options_is_one_line(choice, expected):
    with pytest.raises(ConfigError) as caught:
        options_command.show_options(TABLES, [choice], 120)
    assert str(caught.value) == expected


def test_the_commands_print_what_a_user_types(write, monkeypatch, capsys):
    monkeypatch.setattr(show_command, "TABLES", TABLES)
    monkeypatch.setattr(options_command, "TABLES", TABLES)
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    show_command.add_parser(subparsers)
    options_command.add_parser(subparsers)
    write("a.yaml", BASIC)
    for words, expected in (
        (["show", "a.yaml", "seed=3"], "command line"),
        (["options", "system=rde"], "system.tau"),
    ):
        namespace = parser.parse_args(words)
        assert namespace.run(namespace) == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize("command", [show_command, options_command])
def test_help_ends_with_two_examples(command, capsys):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args([command.__name__.rpartition(".")[2], "--help"])
    examples = capsys.readouterr().out.rstrip().splitlines()[-2:]
    assert all(line.startswith("  tpr ") for line in examples)
