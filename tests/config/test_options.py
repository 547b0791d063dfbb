"""`describe_options`: rows with type, default and the sentence found in the source."""

import re
from dataclasses import MISSING, dataclass, make_dataclass

import pytest

from tests.config.schema_for_tests import TABLES
from tpr.captioning.engines import ENGINES
from tpr.captioning.finetune import FinetuneOptions
from tpr.captioning.plan import Settings
from tpr.captioning.styles.options import ClusterOptions, EncoderOptions, TrainOptions
from tpr.config.hints import walk_options
from tpr.config.options import OptionRow, describe_options, find_sentence
from tpr.config.resolved import plain_value
from tpr.config.schema import Experiment
from tpr.config.typed import build_options
from tpr.systems import TABLES as REAL_TABLES


def rows():
    return {(row.choice, row.name): row for row in describe_options(Experiment, TABLES)}


def test_an_option_has_type_default_and_sentence(monkeypatch):
    monkeypatch.delenv("TPR_DATA", raising=False)
    assert rows()["", "optim.clip"] == OptionRow(
        "optim.clip", "float > 0 | null", "null", "Largest gradient norm; absent: gradients are not clipped."
    )
    assert rows()["", "optim.lr"][1:3] == ("float >= 0", "1.0e-05")
    assert rows()["", "optim.betas"][1:3] == ("list of float in [0, 1)", "[0.9, 0.999]")
    assert rows()["", "schedule.milestones"][1:3] == ("list of int >= 1", "[20, 50]")
    assert rows()["", "schedule.gamma"][1:3] == ("float > 0 | list of float > 0", "0.1")
    assert rows()["", "data.unit"][1:3] == ("pair | image", "pair")
    assert rows()["", "data.root"][1:3] == ("path", "data")
    assert rows()["", "data.augment"][1:] == ("options", "", "Augmentation of training images.", "")
    assert rows()["", "data.augment.flip"].default == "0.5"


def test_named_options_list_their_choices_and_the_options_of_each():
    assert rows()["", "system"][1:3] == ("irra | rde", "required")
    assert rows()["", "data.train"].type == "list of cuhk_pedes | icfg_pedes | synth_pedes"
    assert rows()["system=irra", "system.temperature"] == OptionRow(
        "system.temperature",
        "float",
        "0.02",
        "Softmax temperature; logits are cosine / temperature.",
        "system=irra",
    )
    assert rows()["system=irra", "system.losses"][1:3] == ("name: float", "{sdm: 1.0}")
    assert rows()["model=clip", "model.architecture"].type == "text | options"
    assert rows()["model=clip", "model.architecture.width"].default == "required"
    assert rows()["adapter=synth_pedes", "data.train[].captions"].type == "published | all"


def test_each_option_is_listed_once():
    names = [(row.choice, row.name) for row in describe_options(Experiment, TABLES)]
    assert len(names) == len(set(names))


def test_every_option_of_every_run_has_a_sentence():
    for row in describe_options(Experiment, {}):
        assert row.sentence.endswith("."), row.name


@dataclass(frozen=True, kw_only=True)
class Parent:
    inherited: int = 1
    """From the parent."""
    bare: int = 2


@dataclass(frozen=True, kw_only=True)
class Child(Parent):
    own: int = 3
    """Its own."""


def test_sentences_are_found_through_inheritance_and_may_be_absent():
    assert find_sentence(Child, "inherited") == "From the parent."
    assert find_sentence(Child, "own") == "Its own."
    assert find_sentence(Child, "bare") == ""


def test_every_default_is_a_value_of_its_own_option():
    for option in walk_options(Experiment, REAL_TABLES):
        if option.field.default is not MISSING:
            found = build_options(
                make_dataclass("One", [("value", option.hint)]),
                {"value": plain_value(option.field.default)},
                REAL_TABLES,
            )
            assert plain_value(found.value) == plain_value(option.field.default), option.dotted


CAPTIONING = (ClusterOptions, EncoderOptions, FinetuneOptions, Settings, TrainOptions)


@pytest.mark.parametrize("cls", [Experiment, *CAPTIONING, *(engine.Options for engine in ENGINES.values())])
def test_every_number_has_a_range(cls):
    rows = describe_options(cls, REAL_TABLES)
    assert [row.name for row in rows if re.search(r"(int|float)( \||\]|,|$)", row.type)] == []
