"""TVI-LFM on a small trunk: rows, sides, what stands still, what is kept, and where weights come from."""

import logging
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from torch import nn

from tests.marks import slow_except
from tests.systems.small_systems import (
    BASE_ROWS,
    CAPTIONS,
    FIRST,
    SETTING,
    SMALL,
    SMALL_STREAMS,
    make_irra,
    make_slots,
    make_tvi_lfm,
)
from tpr.config.schema import Choice, Experiment, InitOptions, OptimOptions
from tpr.config.typed import build_options, to_tree
from tpr.data.images.chains import name_chain
from tpr.data.images.transforms import normalise_pixels
from tpr.data.text.tokens import tokenize
from tpr.engine.optim import group_parameters
from tpr.errors import ConfigError
from tpr.models import ClipOptions
from tpr.models.two_stream import TwoStreamOptions
from tpr.systems import build_system, load_system, load_weights
from tpr.systems.base import EpochContext
from tpr.systems.irra import IrraOptions
from tpr.systems.tvi_lfm import TviLfm
from tpr.systems.tvi_lfm_options import Losses, TviLfmOptions

EVERY_LOSS = Losses(orthogonality=1, text_alignment=1, infrared_alignment=1)
OPTIONS = {
    "base": TviLfmOptions(**BASE_ROWS),
    "incremental": TviLfmOptions(),
    "drifting": TviLfmOptions(visual="drifting", triplet="published"),
    "every_loss": TviLfmOptions(losses=EVERY_LOSS),
    "all_trained": TviLfmOptions(visual="trained"),
    "crossed": TviLfmOptions(rows=("visible", "fused"), feature_filter=False),
    "text": TviLfmOptions(rows=("visible", "text"), visual="trained"),
    "no_triplet": TviLfmOptions(losses=Losses(triplet=0)),
}
WIDTH = 128


@pytest.fixture(params=list(OPTIONS))
def options(request):
    return OPTIONS[request.param]


def prepare_epoch(system):
    """What the trainer does before the first step."""
    system.before_epoch(EpochContext(progress=FIRST, survey=None, autocast=None))
    return system.train()


def total(system, batch):
    return sum(system(batch, FIRST).losses.values())


def train_some(system, steps=5, lr=3e-3):
    """A few steps on one batch; the loss of each."""
    batch, losses = make_slots(), []
    optimizer = torch.optim.AdamW([p for p in system.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        loss = total(system, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def hold_norms(system):
    """Norms in evaluation mode: their statistics make rows depend on one another, and on their order."""
    for module in system.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return system


def test_losses_are_finite_and_every_trained_parameter_gets_a_gradient(options):
    system = prepare_epoch(make_tvi_lfm(options))
    output = system(make_slots(), FIRST)
    assert set(output.losses) == {name for name, weight in asdict(options.losses).items() if weight > 0}
    assert all(torch.isfinite(value) for value in (*output.losses.values(), *output.metrics.values()))
    sum(output.losses.values()).backward()
    for name, parameter in system.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("options", slow_except({"base"}, OPTIONS), indirect=True)
def test_training_on_toy_data_lowers_the_loss(options):
    losses = train_some(prepare_epoch(make_tvi_lfm(options)), steps=10)
    assert losses[-1] < 0.9 * losses[0]


def test_losses_do_not_depend_on_the_order_of_the_batch(options):
    system = hold_norms(make_tvi_lfm(options).double())
    batch = {
        key: value.double() if torch.is_tensor(value) and value.is_floating_point() else value
        for key, value in make_slots().items()
    }
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = {key: value[order] if torch.is_tensor(value) else value for key, value in batch.items()}
    expected, found = system(batch, FIRST).losses, system(shuffled, FIRST).losses
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-11)


def test_bfloat16_autocast_keeps_losses_in_float32_and_near():
    system = hold_norms(make_tvi_lfm())
    batch = make_slots()
    exact = system(batch, FIRST).losses
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = system(batch, FIRST).losses
        encoded = system.encode(batch, "fused")
    assert encoded.dtype == torch.float32
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[name], rtol=0.05, atol=0.05)


def test_what_a_base_system_needs_and_encodes():
    system = make_tvi_lfm(OPTIONS["base"])
    assert system.sides() == ("image", "infrared")
    views = system.views()
    assert (views.kind, views.tokens) == ("slot", False)
    assert views.chain == name_chain("lanczos", "imagenet")
    assert views.sampler == "cross_modality"
    assert not any(name.startswith(("text.", "base_")) for name in system.state_dict())
    assert TviLfm.needs_identities(OPTIONS["base"])


def test_every_side_is_encoded_to_unit_vectors_and_the_ensemble_is_their_sum():
    system = make_tvi_lfm().eval()
    batch = make_slots()
    assert system.sides() == ("image", "infrared", "text", "fused", "ensemble")
    with torch.no_grad():
        found = system.encode_queries(batch, system.sides())
    assert list(found) == list(system.sides())
    for side in ("image", "infrared", "text", "fused"):
        assert found[side].shape == (6, WIDTH) and found[side].dtype == torch.float32
        torch.testing.assert_close(found[side].norm(dim=1), torch.ones(6))
    parts = found["infrared"] + found["text"] + found["fused"]
    torch.testing.assert_close(found["ensemble"], parts)


def test_each_tower_runs_once_for_all_sides(monkeypatch):
    system = make_tvi_lfm().eval()
    calls = []
    system.visual.register_forward_hook(lambda *given: calls.append("visual"))
    read = system.text.encode_text
    monkeypatch.setattr(
        system.text, "encode_text", lambda *given, **named: calls.append("text") or read(*given, **named)
    )
    with torch.no_grad():
        system.encode_queries(make_slots(), ("infrared", "text", "fused", "ensemble"))
    assert sorted(calls) == ["text", "visual"]


def test_own_text_is_halved_with_the_image_and_oracle_text_loses_what_the_image_shows():
    system = make_tvi_lfm().eval()
    batch = make_slots()
    own = {key: batch[key] for key in ("infrared_images", "tokens")}
    with torch.no_grad():
        pooled = system.pool(system.visual(None, batch["infrared_images"]))
        text, infrared_text = (
            system.text.encode_text(batch[key]).pooled for key in ("tokens", "infrared_tokens")
        )
        torch.testing.assert_close(system.encode(own, "fused"), system.compare((pooled + text) / 2))
        torch.testing.assert_close(
            system.encode(batch, "fused"), system.compare(pooled + text - infrared_text)
        )
        unfiltered = make_tvi_lfm(TviLfmOptions(feature_filter=False)).eval()
        # Of length one, but the text tower reads twice as many rows at once, which may round differently.
        torch.testing.assert_close(
            unfiltered.encode(batch, "fused"), unfiltered.encode(own, "fused"), rtol=0, atol=1e-6
        )
        torch.testing.assert_close(unfiltered.encode(own, "fused"), unfiltered.compare(pooled + text))


def test_images_are_read_with_the_statistics_of_imagenet():
    system = make_tvi_lfm().eval()
    pixels = torch.randint(0, 256, (2, 64, 32, 3), dtype=torch.uint8)
    found = system.encode_images([Image.fromarray(values.numpy()) for values in pixels])
    with torch.no_grad():
        images = normalise_pixels(pixels.permute(0, 3, 1, 2), name_chain("lanczos", "imagenet"))
        torch.testing.assert_close(found, system.encode({"images": images}, "image"))
        texts = system.encode({"tokens": tokenize(CAPTIONS, 24)}, "text")
    torch.testing.assert_close(system.encode_texts(CAPTIONS, batch=4), texts)


@pytest.mark.parametrize("visual", ["frozen", "drifting"])
def test_a_standing_tower_keeps_its_weights_and_only_a_drifting_one_moves_its_statistics(visual):
    system = prepare_epoch(make_tvi_lfm(TviLfmOptions(visual=visual)))
    before = {name: value.clone() for name, value in system.state_dict().items()}
    train_some(system, steps=2)
    after = system.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    standing = {name for name in moved if name.startswith(("visual.", "pool.", "base_"))}
    statistics = {
        name for name in before if name.startswith("visual.") and ("running" in name or "tracked" in name)
    }
    assert standing == (statistics if visual == "drifting" else set())
    assert {name.split(".")[0] for name in moved - standing} == {"text", "head"}


def test_infrared_queries_keep_the_head_of_the_base_training():
    system = make_tvi_lfm()
    batch = make_slots()
    with torch.no_grad():
        before = system.eval().encode_queries(batch, ("infrared", "image"))
    train_some(prepare_epoch(system), steps=3)
    with torch.no_grad():
        found = system.eval().encode_queries(batch, system.sides())
        own = system.compare(system.pool(system.visual(batch["images"], None)))[:, :WIDTH]
    assert found["image"].shape == (6, 2 * WIDTH)
    assert torch.equal(found["image"], torch.cat([own, before["image"]], dim=1))
    assert not torch.allclose(own, before["image"])
    torch.testing.assert_close(found["infrared"] @ found["image"].T, before["infrared"] @ before["image"].T)
    for side in ("text", "fused", "ensemble"):
        assert not found[side][:, WIDTH:].any()
    assert not found["infrared"][:, :WIDTH].any()


def test_a_head_that_is_kept_already_is_not_replaced():
    system = prepare_epoch(make_tvi_lfm())
    kept = system.base_head.norm.running_mean.clone()
    train_some(system, steps=2)
    prepare_epoch(system)
    assert torch.equal(system.base_head.norm.running_mean, kept)
    assert not torch.equal(system.head.norm.running_mean, kept)


def make_experiment(options, *, checkpoint=None, **model):
    return Experiment(
        system=Choice("tvi_lfm", options),
        model=Choice("two_stream", replace(SMALL_STREAMS, **model)),
        init=InitOptions(checkpoint=checkpoint),
    )


def test_incremental_training_starts_from_a_base_checkpoint(tmp_path):
    base = make_tvi_lfm(OPTIONS["base"], seed=4)
    train_some(base.train(), steps=2)
    path = tmp_path / "best.pt"
    config = to_tree(make_experiment(OPTIONS["base"]))
    config["data"]["image_size"] = [64, 32]
    torch.save(
        {"format": "tpr", "model": base.state_dict(), "config": config, "setting": asdict(SETTING)}, path
    )
    system = make_tvi_lfm()
    report = load_weights(system, path)
    assert report.share == 1.0 and report.left_over == []
    assert {name.split(".")[0] for name in report.missing} == {
        "text",
        "base_pool",
        "base_head",
        "base_is_kept",
    }
    prepare_epoch(system)
    for name, value in base.head.state_dict().items():
        assert torch.equal(system.base_head.state_dict()[name], value), name
    assert isinstance(load_system(path), TviLfm)


def save_imagenet(path, system):
    """The visual tower's weights as torchvision names them, with a classifier."""
    state = {"fc.weight": torch.zeros(10, WIDTH), "fc.bias": torch.zeros(10)}
    for name, value in system.visual.state_dict().items():
        if name.startswith("visible."):
            state[name.replace("visible.conv", "conv1").replace("visible.norm", "bn1")] = value
        elif name.startswith("stages."):
            stage, rest = name.removeprefix("stages.").split(".", 1)
            state[f"layer{int(stage) + 1}.{rest}"] = value
    torch.save(state, path)
    return str(path)


def test_both_stems_take_the_weights_of_an_image_classifier(tmp_path, caplog):
    source = make_tvi_lfm(seed=7)
    weights = save_imagenet(tmp_path / "resnet.pth", source)
    with caplog.at_level(logging.INFO):
        system = build_system(make_experiment(OPTIONS["base"], weights=weights), SETTING)
    own = system.visual.state_dict()
    for name, value in source.visual.state_dict().items():
        assert torch.equal(own[name.replace("infrared.", "visible.")], own[name])
        if not name.startswith("infrared."):
            assert torch.equal(own[name], value), name
    assert "weights: 108 of 108 tensors fit" in caplog.text


def test_the_text_tower_takes_clip_s_weights_even_beside_a_base_checkpoint(tmp_path):
    clip = make_irra().base_model.state_dict()
    torch.save(clip, tmp_path / "clip.pt")
    (tmp_path / "base.pt").write_bytes(b"not read here")
    experiment = make_experiment(
        TviLfmOptions(),
        checkpoint=tmp_path / "base.pt",
        weights="imagenet",
        text_weights=str(tmp_path / "clip.pt"),
    )
    text = build_system(experiment, SETTING).text.state_dict()
    assert torch.equal(text["token_embedding.weight"], clip["token_embedding.weight"])
    assert text["text_projection"].shape == (SMALL.text.width, WIDTH) != clip["text_projection"].shape


@pytest.mark.parametrize(
    ("system", "model", "message"),
    [
        (
            Choice("tvi_lfm", TviLfmOptions()),
            Choice("clip", ClipOptions(architecture=SMALL)),
            "model.name=two_stream",
        ),
        (Choice("irra", IrraOptions()), Choice("two_stream", TwoStreamOptions()), "model.name=clip"),
    ],
)
def test_towers_of_another_kind_are_refused(system, model, message):
    with pytest.raises(ConfigError, match=f"does not fit system.name={system.name}; set {message}"):
        build_system(Experiment(system=system, model=model), SETTING)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ("infrared", "text")}, "rows must name visible and others, each once"),
        ({"rows": ("visible",)}, "rows must name visible and others, each once"),
        ({"rows": ("visible", "text", "text")}, "rows must name visible and others, each once"),
        ({"rows": ("visible", "infrared")}, "visual=frozen leaves nothing to learn from rows="),
        (
            {"rows": ("visible", "text"), "losses": {"orthogonality": 1}},
            "orthogonality, text_alignment, infrared_alignment need fused among the rows",
        ),
        ({"alignment_scale": 0}, "alignment_scale: expected float > 0, got 0"),
        ({"head_lr": -1}, "head_lr: expected float >= 0, got -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build_options(TviLfmOptions, options, {})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"triplet": -1}, "triplet: expected float >= 0, got -1"),
        ({"identity": 0}, "identity: expected float > 0, got 0"),
    ],
)
def test_weights_of_losses_that_make_no_sense_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        build_options(Losses, weights, {})


def test_rates_of_all_parts_follow_their_options():
    options = TviLfmOptions(
        visual="trained", text_lr=1e-4, text_bias_lr=3, visual_bias_lr=5, visual_bias_decay=0
    )
    groups = group_parameters(make_tvi_lfm(options), OptimOptions(lr=1e-3, weight_decay=0.1))
    found = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}
    for name, pair in {
        "text.transformer.resblocks.0.mlp.c_fc.weight": (1e-4, 0.1),
        "text.transformer.resblocks.0.mlp.c_fc.bias": (3e-4, 0.0),
        "text.token_embedding.weight": (1e-3, 0.1),
        "text.ln_final.bias": (5e-3, 0.0),
        "visual.visible.norm.bias": (5e-3, 0.0),
        "visual.stages.0.0.conv1.weight": (1e-3, 0.1),
        "head.norm.bias": (2e-3, 0.1),
        "head.classifier.weight": (2e-3, 0.1),
    }.items():
        assert found[name] == pytest.approx(pair), name


def test_files_of_other_systems_are_not_taken_for_its_own():
    state = {f"module.{name}": value for name, value in make_irra().state_dict().items()}
    assert not TviLfm.official.recognise(state)
