"""Checkpoint files: every published kind is read, nothing pickled runs, and the report tells what fitted."""

import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.systems.small_systems import SMALL
from tpr.errors import CheckpointError
from tpr.models import ClipOptions, ClipTowers, fit_state, read_checkpoint


class Recorder:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def state():
    return {"visual.proj": torch.randn(3, 2), "ln_final.weight": torch.ones(2)}


def same(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("container", [None, "model", "state_dict"])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_with_and_without_a_container_are_read(state, container, legacy, tmp_path):
    path = tmp_path / "weights.pt"
    content = state if container is None else {container: state, "epoch": 3, "optimizer": {"state": {}}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    same(found.state, state)
    assert (found.kind, found.config) == ("torch", None)


def test_safetensors_are_recognised_by_their_content(state, tmp_path):
    save_file(state, tmp_path / "weights.bin")
    found = read_checkpoint(tmp_path / "weights.bin")
    same(found.state, state)
    assert found.kind == "safetensors"


def test_a_torchscript_archive_gives_its_tensors_only(tmp_path):
    module = nn.Linear(3, 2).half()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(tmp_path / "archive.pt"))
    found = read_checkpoint(tmp_path / "archive.pt")
    assert found.kind == "torchscript"
    same(found.state, dict(module.state_dict()))


def test_a_file_of_ours_brings_configuration_and_setting(state, tmp_path):
    content = {
        "format": "tpr",
        "model": state,
        "config": {"name": "drawn-pretrain"},
        "setting": {"captions": 4},
    }
    torch.save(content, tmp_path / "best.pt")
    found = read_checkpoint(tmp_path / "best.pt")
    assert (found.kind, found.config, found.setting) == ("ours", {"name": "drawn-pretrain"}, {"captions": 4})


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_refused_and_never_run(legacy, tmp_path):
    victim, path = tmp_path / "was_run", tmp_path / "bad.pt"
    torch.save({"model": Recorder(victim)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="refused: it holds pickled code .*open.*not run") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not victim.exists()


def test_a_plain_pickle_is_refused_and_never_run(tmp_path):
    victim, path = tmp_path / "was_run", tmp_path / "bad.pkl"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Recorder(victim), protocol=protocol))
        with pytest.raises(CheckpointError, match="bad.pkl: refused: it holds .*not run") as error:
            read_checkpoint(path)
        assert "weights_only" not in str(error.value) and "\n" not in str(error.value)
    assert not victim.exists()


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="none.pt: no such file"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory\)"):
        read_checkpoint(tmp_path)
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty.pt: the file is empty"):
        read_checkpoint(tmp_path / "empty.pt")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "archive"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_called_so_in_one_line(state, kind, share, tmp_path):
    path = tmp_path / "cut.pt"
    state["big"] = torch.randn(300, 10)
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "archive":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(nn.Linear(30, 20)).save(str(path))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="cut.pt: ") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_flipped_bit_in_the_values_is_found(tmp_path):
    torch.save({"w": torch.zeros(1000)}, tmp_path / "odd.pt")
    data = bytearray((tmp_path / "odd.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "odd.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match="odd.pt: truncated or damaged .* copy or download it again"):
        read_checkpoint(tmp_path / "odd.pt")


@pytest.mark.parametrize("content", [b"hello, I am a text file", b"\xff\xd8\xff\xe0" * 9, b"{}"])
def test_files_of_another_kind_are_refused_in_one_line(content, tmp_path):
    (tmp_path / "notes.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="notes.pt: not a checkpoint .it starts with") as error:
        read_checkpoint(tmp_path / "notes.pt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "best": 0.5}, "holds no weights by name, .*; found best, epoch"),
        ([torch.zeros(2)], "holds a list, expected weights by name"),
        ({"model": (torch.zeros(2),)}, "holds no weights by name, .*; found model"),
        ({"a": {"b": {"c": {"weight": torch.zeros(2)}}}}, "nor do two keys within it; found a"),
        (torch.zeros(2), "holds a single tensor, expected weights by name"),
        (None, "holds nothing, expected weights by name"),
        ({}, "holds no weights by name, .*; found nothing"),
    ],
)
def test_torch_files_without_weights_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(tmp_path / "odd.pt")
    assert str(error.value).endswith('torch.save(model.state_dict(), "weights.pt")')
    assert "\n" not in str(error.value)


class Model(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.classifier = nn.Linear(8, classes)


def test_a_head_of_another_size_stays_fresh_and_is_reported():
    stored, model = Model(classes=7), Model(classes=4)
    fresh = model.classifier.weight.clone()
    report = fit_state(model, stored.state_dict(), minimum_share=0.5)
    assert torch.equal(model.body.weight, stored.body.weight)
    assert torch.equal(model.classifier.weight, fresh)
    assert report.reinitialised == {"classifier.weight": "7x8 -> 4x8", "classifier.bias": "7 -> 4"}
    assert (
        report.render()
        == "weights: 2 of 4 tensors fit; new because of another size: classifier.* (7x8 -> 4x8)"
    )


def test_missing_and_left_over_names_are_reported_by_part():
    model = Model()
    state = {name: value for name, value in Model().state_dict().items() if name.startswith("body")}
    state |= {name: torch.zeros(1) for name in ("mlm_head.fc.weight", "mlm_head.ln.bias", "scale")}
    report = fit_state(model, state, minimum_share=0.9)
    assert report.render() == (
        "weights: 2 of 4 tensors fit; missing: classifier.*; left over: mlm_head.*, scale"
    )


def test_too_small_a_share_is_refused_with_numbers_and_the_model_stays_untouched():
    model = Model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {"body.bias": torch.zeros(8), "foreign": torch.zeros(92)}
    # 8 of the file's 100 values fit; the model has 108.
    with pytest.raises(
        CheckpointError, match=r"odd.pt: only 8 of 100 values fit \(8.0%, expected at least 90%\)"
    ):
        fit_state(model, state, minimum_share=0.9, source="odd.pt")
    same(dict(model.state_dict()), before)


def test_the_share_is_of_the_smaller_side():
    model = Model()
    state = {**model.state_dict(), "heads_of_another_system": torch.zeros(1000)}
    assert fit_state(model, state, minimum_share=1.0).share == 1.0
    part = {name: value for name, value in model.state_dict().items() if name.startswith("body")}
    assert fit_state(model, part, minimum_share=1.0).share == 1.0


def test_values_that_are_not_finite_are_counted_in_one_warning(caplog):
    model, state = Model(), Model().state_dict()
    state["body.bias"] = state["body.bias"].clone()
    state["body.bias"][:3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    # Finite in the file, infinite in the model.
    state["classifier.bias"] = torch.full((4,), 1e300, dtype=torch.float64)
    report = fit_state(model, state, minimum_share=0.9, source="odd.pt")
    told = "7 values in 2 of 4 tensors are not finite, the first in body.bias"
    assert report.render() == f"weights: 4 of 4 tensors fit; {told}"
    (record,) = caplog.records
    assert record.getMessage() == f"odd.pt: {told}: its training has diverged, use an earlier file"


def test_a_file_of_no_finite_values_is_refused():
    state = {name: value * float("nan") for name, value in Model().state_dict().items()}
    with pytest.raises(CheckpointError, match="only 0 of 108 values fit and are finite .*; 108 values in 4"):
        fit_state(Model(), state, minimum_share=0.1)


def test_names_are_never_matched_by_their_endings():
    model = Model()
    fresh = model.body.weight.clone()
    with pytest.raises(CheckpointError, match="only 0 of"):
        fit_state(model, {"other.body.weight": torch.zeros(8, 8)}, minimum_share=0.1)
    assert torch.equal(model.body.weight, fresh)


def test_half_precision_values_are_widened():
    model = Model()
    state = {name: value.half() for name, value in Model().state_dict().items()}
    fit_state(model, state, minimum_share=1.0)
    assert model.body.weight.dtype == torch.float32
    assert torch.equal(model.body.weight, state["body.weight"].float())


def test_position_embeddings_are_resized_inside_any_part():
    class Whole(nn.Module):
        def __init__(self, size, length):
            super().__init__()
            self.towers = ClipTowers(ClipOptions(architecture=SMALL), image_size=size, text_length=length)

    report = fit_state(Whole((64, 32), 30), Whole((64, 64), 24).state_dict(), minimum_share=1.0)
    assert report.resized == {
        "towers.visual.positional_embedding": "4x4 -> 4x2",
        "towers.positional_embedding": "24 -> 30",
    }
    assert "; positional embedding resized 4x4 -> 4x2" in report.render()
    assert "; text positional embedding resized 24 -> 30" in report.render()
