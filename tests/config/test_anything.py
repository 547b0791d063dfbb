"""Whatever is typed or written is a configuration or one line that says why not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.config.schema_for_tests import BASIC
from tpr.config.reader import read_overrides, read_stored_tree, read_tree
from tpr.config.typed import build_experiment, dump_yaml
from tpr.config.yaml_entries import parse_values
from tpr.errors import ConfigError
from tpr.systems import TABLES

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
LONGEST_MESSAGE = 5000
QUICK = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

PIECES = (
    "a b : - [ ] { } & * &x *x <<: ! !! !!int !!bool !!float !!timestamp !!set !!binary | > ' # % "
    "!!null !!map !!python/name:os.system --- ... ? ~ null 1e400 .nan .inf 0x1f 1_0 name system"
)
pieces = st.sampled_from(
    [*PIECES.split(), '"', " ", "  ", "\n", "\n  ", "\t", "\r", "\0", "\u202e", "\ufeff", "\\U00110000",
     "\\ud800", "9" * 5000, "[" * 60, "{a: " * 60]
)  # fmt: skip
documents = st.lists(pieces | st.text(max_size=3), max_size=8).map("".join)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3)
    | st.sampled_from([2**31, 2**70, -(10**400), "9" * 5000, "x" * 5000, "\0", "\ud800", "~no/x"])
)  # fmt: skip


def refuse_in_one_line(read: Any, *arguments: Any) -> Any:
    """What the function gives, or None and a message of one line."""
    try:
        return read(*arguments)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert 0 < len(str(error)) < LONGEST_MESSAGE
        return None


@QUICK
@given(documents)
def test_any_text_is_a_document_or_one_line(text: str) -> None:
    refuse_in_one_line(parse_values, [f"a={text}", text])
    refuse_in_one_line(read_stored_tree, text, "file")


@QUICK
@given(path=st.sampled_from(CONFIGS), data=st.data())
def test_a_shipped_config_with_a_few_letters_changed_is_a_run_or_one_line(
    path: Path, data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(
            pieces | st.text(max_size=2)
        ).encode(errors="replace")
    folder = tmp_path / "configs" / "x"
    folder.mkdir(parents=True, exist_ok=True)
    shared = folder.parent / "shared"
    if not shared.exists():
        shared.symlink_to(CONFIGS[0].parents[1] / "shared")
    (folder / "a.yaml").write_bytes(content)
    tree = refuse_in_one_line(read_tree, folder / "a.yaml")
    if tree is not None:
        refuse_in_one_line(build_experiment, tree, TABLES)


NAMES = (
    "optim.lr data.batch seed name system model.weights data.train data.root evaluation base a "
    "runtime.output schedule.milestones data.image_size system.losses data.noise.file"
)
names = st.sampled_from(NAMES.split())


@QUICK
@given(names | st.text(max_size=8), documents)
def test_any_override_is_taken_or_one_line(name: str, text: str) -> None:
    words = ["system=irra", "model=clip", f"{name}={text}"]
    tree = refuse_in_one_line(read_overrides, words)
    experiment = None if tree is None else refuse_in_one_line(build_experiment, tree, TABLES)
    if experiment is not None:
        assert build_experiment(read_stored_tree(dump_yaml(experiment), "file"), TABLES) == experiment


KEYS = (
    "name seed system model data optim schedule runtime batch lr betas epochs train test image_size losses "
    "noise output augment root path images milestones"
)
keys = st.sampled_from(KEYS.split())
values = st.recursive(
    scalars | st.sampled_from(["irra", "rde", "clip", "mals", "jsonl"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys | scalars.filter(lambda key: key == key), inner, max_size=4)
    ),
    max_leaves=8,
)


@QUICK
@given(st.dictionaries(keys, values, max_size=4))
def test_any_tree_is_a_run_or_one_line(tree: dict[str, Any]) -> None:
    experiment = refuse_in_one_line(build_experiment, {"system": "irra", "model": "clip", **tree}, TABLES)
    if experiment is not None:
        assert build_experiment(read_stored_tree(dump_yaml(experiment), "file"), TABLES) == experiment


def test_values_that_lie_in_themselves_or_very_deep_are_one_line() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for value in (circle, deep):
        assert refuse_in_one_line(build_experiment, {"system": "irra", "model": value}, TABLES) is None
        assert (
            refuse_in_one_line(build_experiment, {"system": "irra", "model": "clip", "seed": value}, TABLES)
            is None
        )


@pytest.mark.parametrize("value", [10**5000, -(10**5000)], ids=["thousands of digits", "negative"])
def test_a_number_beyond_all_options_is_one_line(value: int) -> None:
    for group, name in zip(
        ("optim", "data", "data", "data", "data"), ("lr", "batch", "train", "unit", "root"), strict=True
    ):
        tree = {"system": "irra", "model": "clip", group: {name: value}}
        assert refuse_in_one_line(build_experiment, tree, TABLES) is None


def test_what_is_read_back_is_what_was_written() -> None:
    tree = read_stored_tree(BASIC, "file", ["name=é", "data.root=~nobody/x", "optim.lr=1e-5"])
    experiment = build_experiment(tree, TABLES)
    assert build_experiment(read_stored_tree(dump_yaml(experiment), "file"), TABLES) == experiment
