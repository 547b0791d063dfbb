"""Every declared option is read somewhere: an option that changes nothing is a promise not kept."""

import ast
from collections.abc import Iterator
from pathlib import Path

import tpr
from tpr.config.hints import walk_options
from tpr.config.schema import Experiment
from tpr.systems import TABLES

PACKAGE = Path(tpr.__file__).parent
CHECKS = {"__post_init__", "check"}
"""Functions that only look whether a value is sensible; being checked is not being used."""


def attributes_read(tree: ast.AST) -> Iterator[str]:
    """Names after a dot that are read, and names that getattr is given, outside of checks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name in CHECKS:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            yield from (word.value for word in node.args[1:2] if isinstance(word, ast.Constant))
        yield from attributes_read(node)


def all_attributes_read() -> set[str]:
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "config" / "schema.py"]
    return {name for path in files for name in attributes_read(ast.parse(path.read_text()))}


def test_every_option_is_read_outside_of_its_declaration():
    read = all_attributes_read()
    options = {
        (option.dotted, option.choice, option.field.name) for option in walk_options(Experiment, TABLES)
    }
    assert len(options) > 200
    assert [place for *place, name in sorted(options) if name not in read] == []


def test_a_check_does_not_count_as_reading():
    source = (
        "class Options:\n"
        "    def __post_init__(self):\n        self.checked\n"
        "    def use(self):\n        self.written = self.used + getattr(self, 'fetched')\n"
    )
    assert set(attributes_read(ast.parse(source))) == {"used", "fetched"}
