"""A tree as frozen options: conversions, checks, suggestions, and every message by its text."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml

from tests.config.schema_for_tests import BASIC, TABLES, Clip, Irra, Sizes
from tpr.config.schema import AdapterChoice, Choice, Experiment, Named
from tpr.config.typed import (
    build_experiment,
    build_options,
    dump_yaml,
    fingerprint,
    read_experiment,
    to_tree,
)
from tpr.errors import ConfigError

MINIMAL = {"system": "irra", "model": "clip"}


def message(tree):
    with pytest.raises(ConfigError) as caught:
        build_experiment({**MINIMAL, **tree}, TABLES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def file_message(write, text, overrides=()):
    with pytest.raises(ConfigError) as caught:
        read_experiment(write("a.yaml", text), overrides, TABLES)
    return str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Everything:
    flag: bool = False
    count: int = 0
    rate: float = 0.0
    text: str = ""
    path: Path = Path()
    kind: Literal["on", "off"] = "on"
    letter: Literal["a", "b", "c", "d", "e", "f", "gamma"] = "a"
    power: Literal[1, 2] = 1
    either: float | Literal["auto"] = "auto"
    maybe: Path | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    numbers: tuple[int, ...] = ()
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    sizes: str | Sizes = "small"
    other: Annotated[Choice, Named("system")] | None = None
    sets: tuple[AdapterChoice, ...] = ()
    anything: Any = None


def build(**values):
    return build_options(Everything, values, TABLES)


def failure(**values):
    with pytest.raises(ConfigError) as caught:
        build(**values)
    return str(caught.value)


# Rule 3: conversion by declared type


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("flag", True, True),
        ("flag", "off", False),
        ("flag", "Yes", True),
        ("count", 3, 3),
        ("count", "010", 10),
        ("count", "-4", -4),
        ("rate", "1e-4", 1e-4),
        ("rate", 2, 2.0),
        ("rate", "3", 3.0),
        ("text", "no", "no"),
        ("text", "1:30", "1:30"),
        ("path", "a/b", Path("a/b")),
        ("path", "~/x", Path.home() / "x"),
        ("kind", "off", "off"),
        ("power", 2, 2),
        ("power", "2", 2),
        ("either", "auto", "auto"),
        ("either", "1e-3", 1e-3),
        ("maybe", None, None),
        ("maybe", "None", None),
        ("maybe", "x", Path("x")),
        ("pair", [1, "2e-1"], (1.0, 0.2)),
        ("numbers", [], ()),
        ("numbers", ["1", 2], (1, 2)),
        ("weights", {"items": 1, "id": "1e-1"}, {"items": 1.0, "id": 0.1}),
        ("sizes", "large", "large"),
        ("sizes", {"width": 8}, Sizes(width=8, layers=2)),
        ("other", "rde", Choice("rde", TABLES["system"]["rde"]())),
        ("sets", ["cuhk_pedes"], (Choice("cuhk_pedes", TABLES["adapter"]["cuhk_pedes"]()),)),
        ("anything", {"a": [1]}, {"a": [1]}),
    ],
)
def test_a_value_is_converted_by_its_declared_type(name, given, expected):
    value = getattr(build(**{name: given}), name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("flag", 1, "flag: expected true or false, got 1"),
        ("flag", "maybe", "flag: expected true or false, got 'maybe'"),
        ("count", True, "count: expected int, got True"),
        ("count", 1.5, "count: expected int, got 1.5"),
        ("count", "1:30", "count: expected int, got '1:30'"),
        ("count", None, "count: expected int, got null"),
        ("count", "9" * 5000, "count: expected int, got '" + "9" * 76 + "..."),
        ("rate", False, "rate: expected float, got False"),
        ("rate", "fast", "rate: expected float, got 'fast'"),
        ("rate", [1], "rate: expected float, got [1]"),
        ("rate", float("nan"), "rate: expected float, got nan"),
        ("rate", ".inf", "rate: expected float, got '.inf'"),
        ("rate", 10**400, "rate: expected float, got 1" + "0" * 76 + "..."),
        ("text", 5, "text: expected text, got 5; write it in quotes"),
        ("text", True, "text: expected text, got True; write it in quotes"),
        ("text", ["a"], "text: expected text, got ['a']"),
        ("path", "", "path: expected a path, got ''"),
        ("path", 7, "path: expected a path, got 7"),
        ("kind", "of", "kind: expected one of on, off, got 'of'"),
        ("power", True, "power: expected one of 1, 2, got True"),
        ("either", "fast", "either: expected float or auto, got 'fast'"),
        ("pair", [0.9], "pair: expected 2 values, got 1: [0.9]"),
        ("pair", 0.9, "pair: expected a list, got 0.9"),
        ("pair", [1, "x"], "pair[1]: expected float, got 'x'"),
        ("numbers", 3, "numbers: expected a list, got 3; write [3]"),
        ("numbers", {"a": 1}, "numbers: expected a list, got {'a': 1}"),
        ("weights", [1], "weights: expected 'name: value' pairs, got [1]"),
        ("weights", {"id": "x"}, "weights.id: expected float, got 'x'"),
        ("weights", {1: 2.0}, "weights: expected names as text, got 1"),
        ("sizes", 5, "sizes: expected text or options, got 5"),
        ("sizes", {"width": "x"}, "sizes.width: expected int, got 'x'"),
        ("sizes", {}, "sizes.width: not given; expected int"),
        ("other", "ira", "other.name: 'ira' is not known (did you mean 'irra'?); known: irra, rde"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(name, given, expected):
    assert failure(**{name: given}) == expected


def test_up_to_six_choices_are_listed_without_a_guess_and_more_with_one():
    assert message({"runtime": {"precision": "bf61"}}) == (
        "runtime.precision: expected one of auto, float32, bf16, fp16, got 'bf61'"
    )
    assert failure(letter="gama") == (
        "letter: expected one of a, b, c, d, e, f, gamma, got 'gama' (did you mean 'gamma'?)"
    )


def test_a_list_of_data_sets_says_how_one_is_written():
    assert message({"data": {"train": "cuhk_pedes"}}) == (
        "data.train: expected a list, got 'cuhk_pedes'; write [cuhk_pedes]"
    )
    assert message({"data": {"train": ["cuhk"]}}) == (
        "data.train[0].name: 'cuhk' is not known (did you mean 'cuhk_pedes'?); "
        "known: cuhk_pedes, icfg_pedes, synth_pedes"
    )
    assert message({"data": {"train": [{"name": "synth_pedes", "captions": "al"}]}}) == (
        "data.train[0].captions: expected one of published, all, got 'al'"
    )


# Rule 4 and the quoted messages


def test_unknown_name_lists_the_known_ones_with_a_guess():
    expected = "system.name: 'ira' is not known (did you mean 'irra'?); known: irra, rde"
    assert message({"system": "ira"}) == expected
    assert message({"system": {"name": "ira", "temperature": 1}}) == expected
    assert message({"system": {"name": 5}}) == "system.name: 5 is not known; known: irra, rde"


def test_unknown_option_suggests_the_nearest_name_of_its_group():
    assert message({"optim": {"ler": 1}}) == (
        "optim.ler: no such option in Optim (did you mean 'lr'?); "
        "options: name, lr, betas, eps, weight_decay, clip"
    )
    assert message({"system": {"name": "irra", "temprature": 1}}) == (
        "system.temprature: no such option in Irra (did you mean 'temperature'?); "
        "options: temperature, losses"
    )


def test_unknown_option_suggests_one_of_another_group():
    assert message({"schedule": {"lr": 1}}).startswith(
        "schedule.lr: no such option in Schedule (there is `optim.lr`); options: epochs, name,"
    )
    assert message({"weight_decai": 1}).startswith(
        "weight_decai: no such option in Experiment (there is `optim.weight_decay`); options: name, seed,"
    )
    assert message({"optim": {"epochs": 1}}).startswith(
        "optim.epochs: no such option in Optim (did you mean 'eps'?) (there is `schedule.epochs`); options:"
    )
    assert message({"qqqq": 1}).startswith("qqqq: no such option in Experiment; options: name, seed,")


def test_an_option_of_another_name_is_not_offered_in_the_place_where_it_is_none():
    assert message({"system": {"name": "irra", "margin": 1}}) == (
        "system.margin: no such option in Irra; options: temperature, losses"
    )


def test_a_name_without_options_says_so():
    assert message({"data": {"train": [{"name": "cuhk_pedes", "zzz": 1}]}}) == (
        "data.train[0].zzz: no such option in Plain; it has no options"
    )


def test_quoted_messages_about_values():
    assert message({"data": {"image_size": [384]}}) == "data.image_size: expected 2 values, got 1: [384]"
    assert message({"optim": {"clip": False}}) == "optim.clip: expected float, got False"
    assert message({"system": {"name": "irra", "temperature": 0}}) == (
        "system: temperature must be positive, got 0.0"
    )


def test_a_group_that_is_no_group_or_has_no_name():
    assert message({"optim": 5}) == "optim: expected options of Optim, got 5"
    assert message({"optim": None}) == "optim: expected options of Optim, got null"
    assert message({"system": {"temperature": 1}}) == "system.name: not given; known: irra, rde"
    assert message({"system": [1]}) == (
        "system: expected a name or options with a name, got [1]; known: irra, rde"
    )
    with pytest.raises(ConfigError, match=r"^system: not given; known: irra, rde$"):
        build_experiment({"model": "clip"}, TABLES)


# Where a value came from


def test_messages_name_file_and_line_or_the_command_line(write):
    text = BASIC + "optim:\n  clip: false\n"
    assert file_message(write, text) == "optim.clip: expected float, got False (in a.yaml:4)"
    assert file_message(write, BASIC, ["optim.clip=false"]) == (
        "optim.clip: expected float, got False (on the command line)"
    )
    assert file_message(write, BASIC + "optim:\n  ler: 1\n").endswith("weight_decay, clip (in a.yaml:4)")
    assert file_message(write, BASIC + "data:\n  train:\n  - cuhk_pedes\n  - cuhk\n").endswith(
        "(in a.yaml:6)"
    )
    assert file_message(write, "model: clip\nsystem:\n  temperature: 1\n") == (
        "system.name: not given; known: irra, rde (in a.yaml:2)"
    )


def test_a_failed_check_names_the_line_of_the_option_it_speaks_of(write):
    text = "model: clip\nsystem:\n  name: irra\n  temperature: 0\n"
    assert file_message(write, text) == "system: temperature must be positive, got 0.0 (in a.yaml:4)"
    assert file_message(write, BASIC + "data: {augment: {flip: 2}}\n") == (
        "data.augment.flip: expected float in [0, 1], got 2 (in a.yaml:3)"
    )
    assert file_message(write, BASIC, ["seed=-1"]) == (
        "seed: expected int in [0, 2^63), got -1 (on the command line)"
    )


def test_an_override_of_the_name_does_not_fail_on_the_options_of_the_old_one(write):
    path = write("a.yaml", "model: clip\nsystem: {name: irra, temperature: 0.5}\n")
    experiment = read_experiment(path, ["system.name=rde", "system.tau=1"], TABLES)
    assert (experiment.system.name, experiment.system.options.tau) == ("rde", 1.0)


# Rule 5


def test_options_are_frozen():
    experiment = build_experiment(MINIMAL, TABLES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.optim.lr = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.system.options.temperature = 1.0


# Rule 6


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"optim": {"betas": [0.9, 1]}}, "optim.betas[1]: expected float in [0, 1), got 1"),
        (
            {"optim": {"betas": [0.9]}},
            "optim: betas=[0.9]: name=adam takes 2 values, such as [0.9, 0.999]",
        ),
        (
            {"optim": {"name": "adan"}},
            "optim: betas=[0.9, 0.999]: name=adan takes 3 values, such as [0.98, 0.92, 0.99]",
        ),
        ({"optim": {"clip": 0}}, "optim.clip: expected float > 0, got 0"),
        ({"optim": {"lr": -1}}, "optim.lr: expected float >= 0, got -1"),
        ({"optim": {"eps": "1e-400"}}, "optim.eps: expected float > 0, got '1e-400'"),
        (
            {"optim": {"weight_decay": 1e300}},
            "optim.weight_decay: expected float in [-1e+30, 1e+30], got 1e+300",
        ),
        ({"evaluation": {"batch": 2**70}}, f"evaluation.batch: expected int in (-2^31, 2^31), got {2**70}"),
        (
            {"schedule": {"epochs": 10**400}},
            f"schedule.epochs: expected int in [1, 1000000], got 1{'0' * 76}...",
        ),
        (
            {"schedule": {"epochs": 10**5000}},
            "schedule.epochs: expected int in [1, 1000000], got a number of thousands of digits",
        ),
        ({"data": {"text_length": 10**9}}, "data.text_length: expected int in [3, 1024], got 1000000000"),
        (
            {"data": {"image_size": [10**6, 10**6]}},
            "data.image_size[0]: expected int in [1, 4096], got 1000000",
        ),
        ({"data": {"max_image_pixels": 0}}, "data.max_image_pixels: expected int in [1, 2^40], got 0"),
        ({"runtime": {"workers": 10**6}}, "runtime.workers: expected int in [0, 1024], got 1000000"),
        (
            {"runtime": {"output": "x" * 5000}},
            "runtime.output: expected a path of at most 4095 bytes and 255 in each name, "
            f"got {'x' * 40!r}... of 5000 bytes",
        ),
        ({"runtime": {"output": "a\0b"}}, "runtime.output: expected a path, got 'a\\x00b'"),
        ({"runtime": {"output": "a\udc80"}}, "runtime.output: expected a path in UTF-8, got 'a\\udc80'"),
        ({"name": "x" * 300}, f"name must have at most 200 bytes, got 300: '{'x' * 76}..."),
        ({"data": {"batch": 0}}, "data.batch: expected int >= 1, got 0"),
        ({"data": {"captions_per_image": 2}}, "data: captions_per_image=2 needs unit=image"),
        ({"data": {"image_size": [0, 1]}}, "data.image_size[0]: expected int in [1, 4096], got 0"),
        (
            {"data": {"images_per_identity": 0}},
            "data.images_per_identity: expected int in [1, 1024], got 0",
        ),
        (
            {"data": {"test": ["cuhk_pedes", "cuhk_pedes"]}},
            "data: test[1] repeats 'cuhk_pedes'; name each dataset once",
        ),
        (
            {"data": {"augment": {"erase_area": [0.4, 0.1]}}},
            "data.augment: erase_area must rise, got [0.4, 0.1]",
        ),
        (
            {"schedule": {"milestones": [5, 5]}},
            "schedule: milestones must be epochs that rise, got [5, 5]",
        ),
        (
            {"schedule": {"name": "linear", "epochs": 5}},
            "schedule.warmup_epochs=5 leaves no epoch of schedule.epochs=5; "
            "lower the first or raise the second",
        ),
        ({"schedule": {"warmup_share": 1}}, "schedule.warmup_share: expected float in (0, 1), got 1"),
        ({"schedule": {"gamma": 0}}, "schedule.gamma: expected float > 0 or list of float > 0, got 0"),
        ({"schedule": {"warmup_factor": 2}}, "schedule.warmup_factor: expected float in [0, 1], got 2"),
        ({"init": {"minimum_share": 2}}, "init.minimum_share: expected float in [0, 1], got 2"),
        ({"runtime": {"max_steps": 0}}, "runtime.max_steps: expected int >= 1, got 0"),
        ({"report": {"ranking_queries": -1}}, "report.ranking_queries: expected int in [0, 1000], got -1"),
        ({"name": "../x"}, "name must be the name of one folder, got '../x'"),
        (
            {"schedule": {"epochs": 3, "warmup_epochs": 3}},
            "schedule.warmup_epochs=3 leaves no epoch of schedule.epochs=3; "
            "lower the first or raise the second",
        ),
        (
            {"data": {"sampler": "identity", "batch": 6}},
            "data.batch=6 is no multiple of data.images_per_identity=4, as the identity sampler needs",
        ),
    ],
)
def test_relations_between_options_are_checked(tree, expected):
    assert message(tree) == expected


def test_a_relation_between_groups_names_where_it_was_written(write):
    assert file_message(write, BASIC + "schedule:\n  epochs: 3\n  warmup_epochs: 3\n").endswith(
        "lower the first or raise the second (in a.yaml:5)"
    )


# Rule 7


def full_experiment(write):
    text = (
        "system: {name: irra, temperature: 1e-4, losses: {sdm: 1, id: 0.5}}\n"
        "model: {name: clip, architecture: {width: 32}, weights: '1e-4'}\n"
        "data: {train: [{name: synth_pedes, captions: published}, cuhk_pedes], test: [icfg_pedes],\n"
        "  root: ~/d}\n"
        "optim: {lr: 1e-5, clip: 1}\n"
    )
    return read_experiment(write("full.yaml", text), ["name='on'", "runtime.max_steps=5"], TABLES)


def test_the_resolved_tree_holds_every_option_and_builds_the_same_experiment(write):
    experiment = full_experiment(write)
    tree = to_tree(experiment)
    assert set(tree) == {field.name for field in dataclasses.fields(Experiment)}
    assert tree["system"] == {"name": "irra", "temperature": 1e-4, "losses": {"sdm": 1.0, "id": 0.5}}
    assert tree["data"]["train"][0] == {"name": "synth_pedes", "captions": "published"}
    assert tree["data"]["root"] == str(Path.home() / "d")
    assert build_experiment(tree, TABLES) == experiment


def test_the_written_config_alone_repeats_the_run(write, monkeypatch):
    experiment = full_experiment(write)
    text = dump_yaml(experiment)
    monkeypatch.setenv("TPR_DATA", "/elsewhere")
    assert read_experiment(write("config.yaml", text), (), TABLES) == experiment
    assert build_experiment(yaml.safe_load(text), TABLES) == experiment
    assert "betas: [0.9, 0.999]\n" in text
    assert "&" not in text


@pytest.mark.parametrize(
    "name", ["on", "010", "1:30", "1e-4", "null", "2024-01-01", "é ü", "=", "0x1f", "1_0"]
)
def test_text_that_looks_like_something_else_survives_the_round_trip(write, name):
    experiment = build_experiment({**MINIMAL, "name": name}, TABLES)
    assert read_experiment(write("config.yaml", dump_yaml(experiment)), (), TABLES).name == name


def test_fingerprint_sees_the_science_and_not_the_machine():
    def of(**tree):
        return fingerprint(build_experiment({**MINIMAL, **tree}, TABLES))

    assert of() == of(name="x", runtime={"workers": 0, "device": "cpu"}, report={"tensorboard": False})
    assert of() == of(optim={"lr": "1e-5"})
    others = [of(), of(seed=2), of(optim={"lr": 2e-5}), of(system={"name": "irra", "losses": {"sdm": 2}})]
    others += [of(system="rde"), of(data={"augment": {"flip": 0}})]
    assert len(set(others)) == len(others)
    assert all(len(value) == 12 for value in others)


# Rule 8


def test_the_data_root_comes_from_the_option_or_the_environment(monkeypatch):
    monkeypatch.delenv("TPR_DATA", raising=False)
    assert build_experiment(MINIMAL, TABLES).data.root == Path("data")
    monkeypatch.setenv("TPR_DATA", "/somewhere")
    assert build_experiment(MINIMAL, TABLES).data.root == Path("/somewhere")
    assert build_experiment({**MINIMAL, "data": {"root": "here"}}, TABLES).data.root == Path("here")
    monkeypatch.setenv("TPR_DATA", "")
    assert build_experiment(MINIMAL, TABLES).data.root == Path("data")


# The rest


def test_build_options_begins_messages_with_the_given_place():
    assert build_options(Sizes, {"width": 3}, {}).width == 3
    with pytest.raises(ConfigError, match=r"^model\.architecture\.width: expected int, got 'x'$"):
        build_options(Sizes, {"width": "x"}, {}, "model.architecture")
    with pytest.raises(ConfigError, match=r"no such option in Sizes \(did you mean 'width'\?\)"):
        build_options(Sizes, {"widht": 3}, {})


def test_defaults_of_table_entries_are_used():
    experiment = build_experiment(MINIMAL, TABLES)
    assert experiment.system == Choice("irra", Irra.Options())
    assert experiment.model == Choice("clip", Clip.Options())


def test_a_type_that_cannot_be_read_is_a_programming_mistake():
    @dataclass(frozen=True)
    class Odd:
        value: complex = 0j

    with pytest.raises(TypeError, match="options cannot be declared as <class 'complex'>"):
        build_options(Odd, {"value": 1}, {})
