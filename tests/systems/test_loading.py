"""Systems from configurations and checkpoints: ours, IRRA's layout, OpenAI's and open_clip's files."""

import logging
import warnings
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cache

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tpr
from tests.systems.small_systems import CAPTIONS, EVERY_LOSS, FIRST, SETTING, SMALL, make_batch, make_irra
from tpr.config.schema import Choice, DataOptions, Experiment, InitOptions
from tpr.config.typed import to_tree
from tpr.data.text.tokens import tokenize
from tpr.errors import CheckpointError
from tpr.models import ClipArchitecture, ClipOptions, ImageArchitecture, TextArchitecture, read_checkpoint
from tpr.systems import build_system, load_system, load_weights, read_experiment_of
from tpr.systems.base import Setting
from tpr.systems.clip_official import find_input
from tpr.systems.irra import Irra, IrraOptions, Losses

# Heads are not seen in shapes, so official files of this size have heads of 64 columns.
OFFICIAL = ClipArchitecture(
    embed_dim=64,
    image=ImageArchitecture(width=64, layers=2, heads=1),
    text=TextArchitecture(width=64, layers=5, heads=1),
)
TALL = Setting(image_size=(384, 128), text_length=77, identities=7, captions=0)
SQUARE = Setting(image_size=(224, 224), text_length=77, identities=None, captions=0)


@cache
def draw_official(options, setting, seed):
    return make_irra(options, setting=setting, architecture=OFFICIAL, seed=seed).eval()


def make_official(options=None, setting=TALL, seed=5):
    return deepcopy(draw_official(options or IrraOptions(), setting, seed))


def bare_clip(seed=5):
    """A system on square images and its towers in OpenAI's names."""
    system = make_official(IrraOptions(losses=Losses(id=0, mlm=0)), SQUARE, seed)
    state = {name.removeprefix("base_model."): value for name, value in system.state_dict().items()}
    return system, state | {"logit_scale": torch.tensor(4.6)}


class Tree(nn.Module):
    """Tensors under dotted names, as scripted modules hold them."""

    def __init__(self, state):
        super().__init__()
        for name in {name.split(".")[0] for name in state}:
            if name in state:
                self.register_buffer(name, state[name])
                continue
            inner = {key.removeprefix(f"{name}."): state[key] for key in state if key.startswith(f"{name}.")}
            self.add_module(name, Tree(inner))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value


def save_archive(state, path):
    extra = {
        "input_resolution": torch.tensor(224),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Tree(state | extra)).save(str(path))


def save_ours(system, path, experiment, setting=SETTING):
    content = {
        "format": "tpr",
        "model": system.state_dict(),
        "config": to_tree(experiment),
        "setting": asdict(setting),
    }
    torch.save(content, path)


def make_experiment(options=None, **data):
    return Experiment(
        system=Choice("irra", options or IrraOptions(temperature=0.1)),
        model=Choice("clip", ClipOptions(architecture=SMALL)),
        data=DataOptions(image_size=(64, 32), text_length=24, **data),
    )


@pytest.mark.parametrize("file", ["archive", "plain", "container", "safetensors"])
def test_bare_clip_files_of_every_kind_are_loaded_and_their_grid_resized(file, tmp_path, caplog):
    clip, state = bare_clip()
    path = tmp_path / "clip.pt"
    if file == "archive":
        save_archive(state, path)
    elif file == "safetensors":
        save_file(state, path)
    else:
        torch.save(
            state if file == "plain" else {"state_dict": {f"module.{k}": v for k, v in state.items()}}, path
        )
    with caplog.at_level(logging.INFO):
        system = tpr.load_system(path)
    assert "positional embedding resized 14x14 -> 24x8" in caplog.text
    assert ("does not tell its activation" in caplog.text) == (file != "archive")
    assert not system.training
    torch.testing.assert_close(system.encode_texts(CAPTIONS), clip.encode_texts(CAPTIONS))
    assert system.encode_images([_image()]).shape == (1, 64)


def _image():
    from PIL import Image

    return Image.new("RGB", (50, 120), (200, 30, 40))


def test_a_half_precision_archive_is_widened(tmp_path):
    clip, state = bare_clip()
    save_archive({name: value.half() for name, value in state.items()}, tmp_path / "clip.pt")
    system = load_system(tmp_path / "clip.pt")
    assert {value.dtype for value in system.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(system.encode_texts(CAPTIONS), clip.encode_texts(CAPTIONS), rtol=0, atol=2e-3)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_irra_checkpoints_are_loaded_whole(prefix, tmp_path, caplog):
    original = make_official()
    state = {prefix + name: value for name, value in original.state_dict().items()}
    torch.save({"model": state, "optimizer": {}, "num_epoch": 60, "epoch": 3}, tmp_path / "best.pth")
    with caplog.at_level(logging.INFO):
        system = load_system(tmp_path / "best.pth")
    assert f"weights: {len(state)} of {len(state)} tensors fit" in caplog.text
    for name, value in original.state_dict().items():
        assert torch.equal(system.state_dict()[name], value), name
    image = _image()
    torch.testing.assert_close(system.encode_images([image]), original.encode_images([image]))


def test_an_irra_checkpoint_with_other_identities_keeps_only_its_classifier_back(tmp_path, caplog):
    stored, system = make_official(setting=replace(TALL, identities=37)), make_official(seed=6)
    fresh = system.classifier.weight.clone()
    torch.save({"model": stored.state_dict()}, tmp_path / "best.pth")
    with caplog.at_level(logging.INFO):
        report = load_weights(system, tmp_path / "best.pth")
    assert set(report.reinitialised) == {"classifier.weight", "classifier.bias"}
    assert report.missing == report.left_over == [] and report.resized == {}
    assert torch.equal(system.classifier.weight, fresh)
    assert "new because of another size: classifier.* (37x64 -> 7x64)" in caplog.text


def test_a_bare_clip_leaves_the_cross_modal_blocks_alone(tmp_path):
    # Their names end like those of the text tower, and their shapes are the same.
    _, state = bare_clip()
    torch.save(state, tmp_path / "clip.pt")
    system = make_official(seed=6)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    report = load_weights(system, tmp_path / "clip.pt")
    for name, value in system.state_dict().items():
        if not name.startswith("base_model."):
            assert torch.equal(value, before[name]), name
            assert name in report.missing
    assert torch.equal(system.base_model.text_projection, state["text_projection"])
    assert 0.999 < report.share < 1  # the resized grid has 192 positions, the file's 196


def test_our_checkpoints_come_back_as_they_were(tmp_path):
    system = make_irra(seed=3).eval()
    experiment = make_experiment(IrraOptions(losses=EVERY_LOSS, temperature=0.1))
    save_ours(system, tmp_path / "best.pt", experiment)
    loaded = load_system(tmp_path / "best.pt")
    assert loaded.setting == SETTING
    for name, value in system.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.testing.assert_close(loaded.encode_texts(CAPTIONS), system.encode_texts(CAPTIONS))


def test_our_checkpoints_know_their_grid_where_the_number_of_patches_does_not_tell(tmp_path):
    # 64 x 16 is 4 x 1 patches, 32 x 32 is 2 x 2: both are four.
    tall = replace(SETTING, image_size=(64, 16))
    options = IrraOptions(losses=Losses(id=0, mlm=0))
    stored = make_irra(options, setting=tall)
    experiment = make_experiment(options)
    experiment = replace(experiment, data=replace(experiment.data, image_size=(64, 16)))
    save_ours(stored, tmp_path / "best.pt", experiment, tall)
    assert torch.equal(
        load_system(tmp_path / "best.pt").base_model.visual.positional_embedding,
        stored.base_model.visual.positional_embedding,
    )
    square = make_irra(options, setting=replace(SETTING, image_size=(32, 32)))
    report = load_weights(square, tmp_path / "best.pt")
    assert report.resized == {"base_model.visual.positional_embedding": "4x1 -> 2x2"}


def test_a_checkpoint_of_another_system_is_refused_in_one_line(tmp_path):
    tree = to_tree(make_experiment())
    tree["system"] = {"name": "unheard_of"}
    torch.save({"format": "tpr", "model": make_irra().state_dict(), "config": tree}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="best.pt: its configuration is not .*unheard_of"):
        load_system(tmp_path / "best.pt")


def test_weights_of_other_sizes_are_refused_with_numbers(tmp_path):
    torch.save({"model": make_official().state_dict()}, tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"best.pth: only [\d,]+ of [\d,]+ values fit \(\d"):
        load_weights(make_irra(), tmp_path / "best.pth")


@pytest.mark.parametrize("prefix", ["model.", "clip_model."])
def test_a_wrapped_clip_beside_a_foreign_tensor_is_read_without_it(prefix, tmp_path, caplog):
    system, state = bare_clip()
    stored = {prefix + name: value for name, value in state.items()}
    torch.save({"state_dict": stored | {"loss.weight": torch.ones(1)}}, tmp_path / "wrapped.pt")
    caplog.set_level(logging.INFO)
    loaded = load_system(tmp_path / "wrapped.pt")
    name = "base_model.visual.conv1.weight"
    assert torch.equal(loaded.state_dict()[name], system.state_dict()[name])
    assert "left over: loss.weight" in caplog.text and "missing" not in caplog.text


def test_a_file_that_is_no_clip_is_refused_by_name(tmp_path):
    torch.save({"layer4.0.conv1.weight": torch.zeros(3, 3)}, tmp_path / "resnet.pth")
    with pytest.raises(
        CheckpointError,
        match="resnet.pth: no CLIP with a vision transformer: 'visual.conv1.weight' is missing; "
        r"found layer4.0.conv1.weight; expected .*torch.save\(model.state_dict",
    ):
        load_system(tmp_path / "resnet.pth")


def test_official_files_tell_sizes_options_and_input(tmp_path):
    torch.save({"model": make_official(IrraOptions(depth=2)).state_dict()}, tmp_path / "best.pth")
    experiment = read_experiment_of(read_checkpoint(tmp_path / "best.pth"))
    assert experiment.system == Choice("irra", IrraOptions(depth=2))
    assert experiment.model == Choice("clip", ClipOptions(architecture=OFFICIAL))
    assert (experiment.data.image_size, experiment.data.text_length) == ((384, 128), 77)


@pytest.mark.parametrize(
    ("patches", "wanted"),
    [
        (196, ((384, 128), None)),
        (192, ((384, 128), None)),
        (310, ((384, 128), 12)),
        (128, ((256, 128), None)),
        (50, ((160, 80), None)),
    ],
)
def test_the_input_behind_a_number_of_patches(patches, wanted):
    assert find_input(patches, 16) == wanted


def test_a_chosen_experiment_overrules_what_the_file_says(tmp_path):
    _, state = bare_clip()
    torch.save(state, tmp_path / "clip.pt")
    experiment = read_experiment_of(read_checkpoint(tmp_path / "clip.pt"))
    sizes = replace(OFFICIAL, quick_gelu=False)
    other = replace(experiment, model=Choice("clip", ClipOptions(architecture=sizes)))
    plain, chosen = load_system(tmp_path / "clip.pt"), load_system(tmp_path / "clip.pt", experiment=other)
    assert not torch.allclose(plain.encode_texts(CAPTIONS), chosen.encode_texts(CAPTIONS))


def test_building_reads_the_weights_that_the_model_names(tmp_path):
    stored = make_irra(seed=8)
    state = {k.removeprefix("base_model."): v for k, v in stored.state_dict().items() if "base_model" in k}
    torch.save(state, tmp_path / "clip.pt")
    options = ClipOptions(architecture=SMALL, weights=str(tmp_path / "clip.pt"))
    experiment = replace(make_experiment(), model=Choice("clip", options))
    system = build_system(experiment, SETTING)
    assert torch.equal(system.base_model.text_projection, stored.base_model.text_projection)
    with_start = replace(experiment, init=InitOptions(checkpoint=tmp_path / "other.pt"))
    (tmp_path / "clip.pt").unlink()
    assert isinstance(build_system(with_start, SETTING), Irra)


def test_building_hands_the_captions_per_image_on():
    experiment = make_experiment(unit="image", captions_per_image=2)
    system = build_system(experiment, SETTING)
    assert system.setting.captions_per_image == 2
    assert system(make_batch(2), FIRST).losses["sdm"].isfinite()


def test_nothing_to_encode_is_said_in_one_line():
    with pytest.raises(tpr.errors.DataError, match="nothing to encode: expected at least one text"):
        make_irra().encode_texts([])


def test_hugging_faces_clip_gives_the_features_that_transformers_gives(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(3)
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config=sizes | {"vocab_size": 49408, "eos_token_id": 49407, "bos_token_id": 49406},
        vision_config=sizes | {"image_size": 32, "patch_size": 16},
        projection_dim=32,
    )
    official = CLIPModel(config).eval()
    with torch.no_grad():
        for name, value in official.named_parameters():
            if name.endswith("bias"):
                value.normal_()
    torch.save(official.state_dict(), tmp_path / "pytorch_model.bin")
    save_file(official.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    tokens = tokenize(CAPTIONS)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        words = official.text_projection(official.text_model(input_ids=tokens).pooler_output)
        images = official.visual_projection(official.vision_model(pixel_values=pixels).pooler_output)
    for file in ("pytorch_model.bin", "model.safetensors"):
        experiment = read_experiment_of(read_checkpoint(tmp_path / file))
        experiment = replace(experiment, data=replace(experiment.data, image_size=(32, 32)))
        whole = load_system(tmp_path / file, experiment=experiment)
        weights = replace(experiment.model.options, weights=str(tmp_path / file))
        started = build_system(replace(experiment, model=Choice("clip", weights)), whole.setting).eval()
        for towers in (whole.base_model, started.base_model):
            with torch.no_grad():
                found = towers.encode_image(pixels).pooled, towers.encode_text(tokens).pooled
            torch.testing.assert_close(found, (images, words), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.conv1.weight": torch.zeros(3)}, "no CLIP with a vision transformer"),
        ({"visual.conv1.weight": torch.zeros(0, 3, 16, 16)}, "its weights do not have"),
        ({"visual.positional_embedding": torch.tensor(1.0)}, "its weights do not have"),
        ({"visual.positional_embedding": torch.zeros(0, 64)}, "its weights do not have"),
        ({"token_embedding.weight": torch.zeros(2, 2, 2)}, "no CLIP with a vision transformer"),
        (
            {"base_model.x": torch.ones(1), "image_selection.shortcut.weight": torch.tensor(1.0)},
            "do not have",
        ),
        ({"visual.infrared.conv.weight": torch.zeros(3)}, "its weights do not have"),
        (
            {"positional_embedding": torch.zeros(5000, 64)},
            r"context: expected int in .*, got 5000",
        ),
    ],
)
def test_weights_of_odd_shapes_are_refused_in_one_line(change, message, tmp_path):
    _, state = bare_clip()
    torch.save(state | change, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=f"clip.pt: .*{message}") as error:
        load_system(tmp_path / "clip.pt")
    assert "\n" not in str(error.value)


def test_a_value_of_other_dimensions_leaves_its_part_fresh(tmp_path):
    system = make_irra()
    state = system.state_dict()
    position = "base_model.positional_embedding"
    for odd in (
        torch.tensor(1.0),
        torch.zeros(0, 64),
        torch.zeros(3, 3, 3),
        state[position].to(torch.complex64),
    ):
        torch.save(state | {position: odd}, tmp_path / "odd.pt")
        assert list(load_weights(system, tmp_path / "odd.pt", 0.5).reinitialised) == [position]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"config": []}, "its config is a list"),
        ({"config": {"model": 3}}, "configuration is not for this version"),
        (
            {"config": {"model": {"name": "clip", "stride": 0}, "data": {"image_size": [64, 32]}}},
            "not for this",
        ),
        ({"config": {"model": "clip", "data": 7}}, "configuration is not for this version"),
        ({"setting": {"identities": "many"}}, "configuration is not for this version .*identities"),
        ({"setting": {"identities": 10**17}}, "configuration is not for this version .*identities"),
        ({"setting": {"identities": -4}}, "a system of its sizes cannot be built"),
        ({"setting": 5}, "its setting is a int"),
    ],
)
def test_files_of_ours_with_odd_content_are_refused_in_one_line(content, message, tmp_path):
    whole = {
        "format": "tpr",
        "model": make_irra().state_dict(),
        "config": to_tree(make_experiment()),
        "setting": asdict(SETTING),
    }
    torch.save(whole | content, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=f"best.pt: .*{message}") as error:
        load_system(tmp_path / "best.pt")
    assert "\n" not in str(error.value)
    if "setting" not in content:
        with pytest.raises(CheckpointError, match=f"best.pt: .*{message}"):
            load_weights(make_irra(), tmp_path / "best.pt")
