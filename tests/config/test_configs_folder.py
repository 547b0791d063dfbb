"""Every YAML file under configs/: it loads, says what it is, is short, and names no machine."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tpr.config.reader import read_tree
from tpr.config.typed import build_experiment
from tpr.systems import TABLES

FOLDER = Path(__file__).parents[2] / "configs"
FILES = sorted(FOLDER.rglob("*.yaml"))
MOST_LINES = 40
MOST_LEVELS = 2


def bases_of(path: Path) -> list[Path]:
    base = yaml.safe_load(path.read_text()).get("base", [])
    return [(path.parent / name).resolve() for name in ([base] if isinstance(base, str) else base)]


def levels(path: Path) -> int:
    return max((1 + levels(base) for base in bases_of(path)), default=0)


def leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for entry in inner for leaf in leaves(entry)]


SHARED = {base for path in FILES for base in bases_of(path)}
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))


def test_there_are_configs():
    assert FILES
    assert set(FILES) - SHARED


@each_file
def test_a_config_loads(path):
    values = dict(read_tree(path).values)
    if path in SHARED:
        # A part of other configs may leave the system or the model open; what it says must fit all the same.
        for kind, name in (("system", "irra"), ("model", "clip")):
            values[kind] = {"name": name, **values.get(kind, {})}
    experiment = build_experiment(values, TABLES)
    if path not in SHARED:
        assert experiment.data.train
        assert experiment.data.test


@each_file
def test_a_config_begins_with_a_comment_and_is_short(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) < MOST_LINES


@each_file
def test_a_config_stands_on_at_most_two_levels_of_bases(path):
    assert levels(path) <= MOST_LEVELS


@each_file
def test_a_config_names_no_machine_path(path):
    for leaf in leaves(yaml.safe_load(path.read_text())):
        assert not str(leaf).startswith(("/", "~")), leaf


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in TABLES for name in TABLES[kind]], ids=lambda part: part
)
def test_options_of_a_table_entry_are_frozen_and_leave_the_word_name_free(kind, name):
    options = TABLES[kind][name]
    assert options.__dataclass_params__.frozen
    assert "name" not in {field.name for field in fields(options)}
