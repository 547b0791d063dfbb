"""Commands of the documents parse, their configs load, and what they are said to print is printed."""

import argparse
import doctest
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.documents.blocks import DOCUMENTS, ROOT, Block, commands_of, find_blocks, inline_commands
from tpr.cli import COMMANDS, build_parser, main
from tpr.commands.data import read_data_options
from tpr.commands.resolve import resolve_experiment
from tpr.config.reader import read_tree
from tpr.config.typed import build_experiment, build_options, read_experiment
from tpr.config.yaml_entries import parse_values
from tpr.data.adapters import ADAPTERS
from tpr.drawn.world import check_names
from tpr.systems import TABLES

LIKE_DOCTEST = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SHELL = find_blocks("sh")
CONSOLE = find_blocks("console")
YAML = [block for block in find_blocks("yaml") if not block.is_addition]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands are typed in the project's folder; logging is left as it was found."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("TPR_DATA", raising=False)
    package = logging.getLogger("tpr")
    saved = package.handlers[:], package.level, package.propagate
    yield
    package.handlers[:], package.level, package.propagate = saved


def check_words(words: list[str]) -> None:
    """Fails unless a command can be typed as it stands."""
    if words[0] == "sh" and words[1] in ("run.sh", "finetune.sh"):
        check_tpr(["train", *words[2:]])
    elif words[0] == "torchrun":
        check_tpr(words[words.index("-m") + 2 :])
    elif words[0] == "tpr":
        check_tpr(words[1:])
    else:
        assert words[0] in ("sh", "python"), f"no test knows {words}"
        assert (ROOT / words[1]).is_file(), words


def check_tpr(words: list[str]) -> None:
    namespace = build_parser(words).parse_args(words)
    check = {"train": check_train, "data": check_data, "draw": check_draw}.get(namespace.command)
    if check is not None:
        check(namespace)
    elif namespace.command == "report":
        assert namespace.arguments
    elif namespace.command == "caption":
        assert namespace.caption_command
    elif namespace.command == "style":
        assert namespace.style_command
    elif namespace.command in ("evaluate", "convert"):
        build_experiment(read_tree(ROOT / "configs/irra/cuhk_pedes.yaml", namespace.arguments), TABLES)
    else:
        assert namespace.run(namespace) == 0


def check_train(namespace: argparse.Namespace) -> None:
    if namespace.arguments:
        assert resolve_experiment(namespace.arguments, namespace.finetune).data.train


def check_data(namespace: argparse.Namespace) -> None:
    if namespace.data_command == "check":
        read_data_options(namespace.arguments)
        assert set(namespace.sets) <= set(ADAPTERS)
    else:
        build_options(ADAPTERS[namespace.set].Options, parse_values(namespace.options), TABLES)


def check_draw(namespace: argparse.Namespace) -> None:
    assert check_names(namespace.sets.split(","))


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_can_be_typed_as_they_stand(block: Block) -> None:
    for words in commands_of(block.text):
        check_words(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_prose_parse(document: Path) -> None:
    for words in inline_commands(document.read_text(encoding="utf-8")):
        if len(words) == 2 and words[0] == "tpr":
            assert words[1] in COMMANDS, words
        elif words[0] == "tpr":
            build_parser(words[1:]).parse_args(words[1:])
        else:
            assert (ROOT / words[1]).is_file(), words


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_commands_print_what_is_shown(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for shown in block.text.split("$ tpr ")[1:]:
        command, _, wanted = shown.partition("\n")
        main(command.split())
        captured = capsys.readouterr()
        found = captured.out + captured.err
        assert doctest.OutputChecker().check_output(wanted, found, LIKE_DOCTEST), f"{command}:\n{found}"


@pytest.mark.parametrize("block", YAML, ids=str)
def test_configs_load(block: Block, tmp_path: Path) -> None:
    assert block.place, "a config says in its first line where it lies"
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    path = tmp_path / block.place
    if path.exists():
        assert yaml.safe_load(block.text) == yaml.safe_load(path.read_text(encoding="utf-8"))
    path.parent.mkdir(exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
    assert read_experiment(path, [], TABLES).data.train


@pytest.mark.parametrize("block", find_blocks("json"), ids=str)
def test_lines_of_ones_own_data_are_read(block: Block, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "people.jsonl").write_text(block.text, encoding="utf-8")
    adapter = ADAPTERS["jsonl"]
    ((split, sample),) = adapter(adapter.Options(path=Path("mine/people.jsonl"))).parse(tmp_path)
    wanted = json.loads(block.text)
    assert (split, sample.image) == (wanted["split"], f"mine/{wanted['image']}")
    assert sample.captions == tuple(wanted["captions"])


def test_the_quick_start_names_the_recipe_that_the_script_runs() -> None:
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    assert "set -- configs/drawn/pretrain.yaml" in script
    assert resolve_experiment(["configs/drawn/pretrain.yaml"]).name == "drawn-pretrain"
    assert commands_of(SHELL[0].text) == [
        ["sh", "run.sh"],
        ["sh", "finetune.sh", "--finetune", "runs/drawn-pretrain/best.pt"],
    ]
