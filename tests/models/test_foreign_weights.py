"""Weights in files of other programs: under any key, in any wrapper, beside anything."""

from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tpr.errors import CheckpointError
from tpr.models import read_checkpoint
from tpr.models.clip_names import rename_hugging_face
from tpr.models.foreign import strip_wrappers

STATE = {"visual.proj": torch.arange(6.0).reshape(3, 2), "ln_final.weight": torch.ones(2)}


def save(content: Any, folder: Path, *, old: bool = False) -> Path:
    torch.save(content, folder / "odd.pt", _use_new_zipfile_serialization=not old)
    return folder / "odd.pt"


def expect(path: Path, wanted: dict[str, Tensor] = STATE) -> None:
    found = read_checkpoint(path).state
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "keys",
    [["net"], ["ema"], ["model_state"], ["weights"], ["checkpoint", "weights"], ["anything", "at all"]],
)
def test_weights_are_found_under_the_only_key_that_holds_tensors(
    keys: list[str], old: bool, tmp_path: Path
) -> None:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(2)).sum().backward()
    optimizer.step()
    content: Any = STATE
    for key in reversed(keys):
        content = {key: content}
    beside = {
        "epoch": 3,
        "best": np.float64(0.5),
        "args": Namespace(lr=1e-5),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state() if len(keys) == 1 else None,
    }
    expect(save(content | beside, tmp_path, old=old))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_pickled_module_gives_its_weights_without_being_built(
    depth: int, old: bool, tmp_path: Path
) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    expect(save({"net": module} if depth else module, tmp_path, old=old), module.state_dict())


def test_a_known_key_is_taken_where_several_hold_weights(tmp_path: Path) -> None:
    expect(save({"ema": {"other": torch.zeros(9)}, "state_dict": STATE}, tmp_path))


def test_several_unknown_keys_are_named_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"under several names \(ema, net\); keep .*\['net'\]") as error:
        read_checkpoint(save({"net": STATE, "ema": STATE}, tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.",
        "module.module.",
        "model.",
        "model.module.",
        "_orig_mod.module.model.",
    ],
)
def test_wrappers_of_the_whole_model_are_taken_off(prefix: str, tmp_path: Path) -> None:
    named = OrderedDict((prefix + name, value) for name, value in STATE.items())
    named["n_averaged"] = torch.tensor(3)
    expect(save({"state_dict": named, "hyper_parameters": Namespace(lr=1)}, tmp_path))


def test_a_prefix_of_some_names_is_part_of_them() -> None:
    some = {"model.weight": torch.ones(1), "head.weight": torch.ones(1)}
    assert strip_wrappers(Path("x.pt"), some).keys() == some.keys()
    part = {"base_model._orig_mod.weight": torch.ones(1)}
    assert strip_wrappers(Path("x.pt"), part).keys() == {"base_model.weight"}
    both = {"a._orig_mod.weight": torch.ones(1), "a.weight": torch.ones(1)}
    assert strip_wrappers(Path("x.pt"), both).keys() == both.keys()


FIRST_LAYERS = (
    "visual.conv1.weight",
    "base_model.visual.conv1.weight",
    "base_model.visual.rgb_model.resnet_conv.0.weight",
    "visual.visible.conv.weight",
    "vision_model.embeddings.patch_embedding.weight",
)
"""Of every layout that is known, each the whole name."""


@pytest.mark.parametrize(
    "prefix", ["", "model.", "backbone.", "clip_model.", "student.", "a.b.", "base_model.model."]
)
@pytest.mark.parametrize("first", FIRST_LAYERS)
def test_what_a_known_model_has_before_its_names_goes_and_names_beside_it_stay(
    first: str, prefix: str
) -> None:
    own = {first: torch.ones(1), "classifier.weight": torch.ones(1)}
    stored = {prefix + name: value for name, value in own.items()} | {"loss.scale": torch.ones(1)}
    assert strip_wrappers(Path("x.pt"), stored).keys() == {*own, "loss.scale"}


def test_of_two_models_in_a_file_none_is_taken_and_the_next_step_is_told(tmp_path: Path) -> None:
    two = {f"{model}.{name}": torch.ones(1) for model in ("student", "teacher") for name in FIRST_LAYERS[:1]}
    with pytest.raises(
        CheckpointError, match=r"2 models \(student., teacher.\); .*model\.student\.state_dict"
    ) as error:
        read_checkpoint(save(two, tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:UserWarning", "ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            lambda: torch.ones(2, 2).to_sparse(),
            "odd.pt: proj is a sparse tensor; save it again with .to_dense",
        ),
        (lambda: torch.ones(2, device="meta"), "odd.pt: proj is without values"),
        (
            lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
            "odd.pt: proj is a quantised",
        ),
        (
            lambda: torch.ones(1).expand(10**6, 10**6),
            "odd.pt: proj has shape 1000000x1000000, but 1 values are stored",
        ),
        (lambda: np.ones(3), r"odd.pt: refused: it holds pickled code \(numpy.*save the weights alone"),
    ],
)
def test_tensors_that_cannot_be_read_are_one_line_with_the_next_step(
    value: Any, message: str, old: bool, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(save({"model": {"proj": value()}}, tmp_path, old=old))
    assert "\n" not in str(error.value)


def test_every_plain_type_and_layout_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {
        "bfloat16": torch.ones(2, dtype=torch.bfloat16), "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "uint16": torch.ones(2, dtype=torch.uint16), "bool": torch.tensor(True), "none": torch.ones(0, 3),
        "turned": whole.T, "part": whole[1:, 2], "whole": whole, "complex": torch.tensor(1 + 2j),
        "parameter": nn.Parameter(torch.ones(2)), "float64": torch.ones(2, dtype=torch.float64),
    }  # fmt: skip
    path = save(state, tmp_path)
    found, wanted = read_checkpoint(path).state, torch.load(path, weights_only=True)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and found[name].stride() == value.stride()
        assert torch.equal(found[name].to(torch.complex128), value.to(torch.complex128)), name
    assert found["part"].untyped_storage().data_ptr() == found["whole"].untyped_storage().data_ptr()


def test_names_of_hugging_face_that_lack_a_part_stay_as_they_are() -> None:
    block = "text_model.encoder.layers.0.self_attn"
    state = {f"{block}.{letter}_proj.bias": torch.ones(2) for letter in "qk"}
    assert set(rename_hugging_face(state)) == {
        f"transformer.resblocks.0.self_attn.{letter}_proj.bias" for letter in "qk"
    }
