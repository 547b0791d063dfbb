"""Published files are recognised by their own marks, whatever the order of the table of systems."""

import re
from collections.abc import Mapping
from functools import cache
from itertools import permutations

import pytest
from torch import Tensor

from tests.systems.every_system import ROWS
from tpr.errors import CheckpointError
from tpr.systems import SYSTEMS, loading
from tpr.systems.loading import recognise_official
from tpr.systems.tables import UNMARKED

BACK = {
    r"^image_selection\.shortcut\.": "visul_emb_layer.fc.",
    r"^text_selection\.shortcut\.": "texual_emb_layer.linear.",
    r"^visual\.infrared\.conv\.": "base_model.visual.ir_model.resnet_conv.0.",
    r"^visual\.stages\.": "base_model.visual.shared_model.resnet_conv.",
}
"""Marks of our names as the authors' files have them."""


def name_officially(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the marks of official files."""
    for ours, official in BACK.items():
        state = {re.sub(ours, official, name): value for name, value in state.items()}
    return dict(state)


@cache
def make_state(name: str) -> dict[str, Tensor]:
    """Weights of a row, under official names where the name says so."""
    row, _, official = name.partition(", ")
    state = ROWS[row].make().state_dict()
    return name_officially(state) if official else state


WIDE = [name for name in ROWS if not name.endswith("two_captions")]
FILES = [*WIDE, *(f"{name}, official" for name in WIDE)]
SHORT = [f"{name}, official" for name in ("irra_published", "mllm4text_equal", "rde_tal", "tvi_lfm_base")]


def expected(name: str) -> str:
    """The system whose mark a file of a row has."""
    system = ROWS[name.partition(",")[0]].system
    return system if SYSTEMS[system].official.mark is not None else UNMARKED


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_recognised_by_two_systems(name: str) -> None:
    found = [system for system, kind in SYSTEMS.items() if kind.official.recognise(make_state(name))]
    assert found == ([expected(name)] if SYSTEMS[expected(name)].official.mark else [])


def test_the_order_of_the_table_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in permutations(SYSTEMS):
        monkeypatch.setattr(loading, "SYSTEMS", {name: SYSTEMS[name] for name in names})
        for name in SHORT:
            assert recognise_official(make_state(name)) == expected(name)


def test_a_file_with_the_marks_of_two_systems_is_refused() -> None:
    state = make_state("rde_tal") | make_state("tvi_lfm_base")
    with pytest.raises(CheckpointError, match="has the marks of several systems: rde, tvi_lfm"):
        recognise_official(state)
