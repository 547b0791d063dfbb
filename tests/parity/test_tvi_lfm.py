"""A small TVI-LFM gives the published features, losses, gradients, statistics and groups (tvi_lfm.json)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.parity.weights import random_state_dict
from tpr.config.reader import read_tree
from tpr.config.schema import OptimOptions, ScheduleOptions
from tpr.config.typed import build_options
from tpr.data.batch import Batch
from tpr.data.tokens import tokenize
from tpr.engine.optim import build_optimizer, group_parameters
from tpr.engine.schedule import rate_factor
from tpr.models import fit_state
from tpr.models.architecture import TextArchitecture
from tpr.models.resnet import GeneralisedMean
from tpr.models.text_tower import TextTower, stretch_columns
from tpr.models.two_stream import TwoStreamOptions
from tpr.objectives.contrastive import normalise
from tpr.objectives.triplet import weighted_triplet
from tpr.systems import TABLES, load_system
from tpr.systems.base import Progress, Setting
from tpr.systems.tvi_lfm import TviLfm
from tpr.systems.tvi_lfm_options import Losses, TviLfmOptions

FOLDER = Path(__file__).parent
CONFIGS = FOLDER.parents[1] / "configs" / "tvi_lfm"
CASE = json.loads((FOLDER / "tvi_lfm.json").read_text())
FIRST = Progress(seed=1, epoch=1, step=0)
SIZES = TextArchitecture(width=CASE["text_width"], layers=CASE["text_layers"], heads=1)
IDENTITIES, SIZE = CASE["identities"], (CASE["height"], CASE["width"])
BASE = {"rows": ("visible", "infrared"), "visual": "trained", "triplet": "published"}
INCREMENTAL = {"visual": "drifting", "triplet": "published"}
RECIPES = {
    "base sysu and llcm": ["sysu_mm01_base", "llcm_base"],
    "base regdb": ["regdb_base"],
    "incremental sysu and llcm": ["sysu_mm01", "llcm"],
    "incremental regdb": ["regdb"],
}


def close(found, wanted, relative=1e-4, floor=1e-5):
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(found).detach().double(), wanted, rtol=relative, atol=floor)


def official_state(*, backup=True):
    state = random_state_dict(CASE["shapes"], CASE["seed"], fan_in=True)
    for name in CASE["quarter"]:
        state[name] *= 0.25
    second = random_state_dict(CASE["backup_shapes"], CASE["seed"] + 1, fan_in=True)
    return state | second if backup else state


def build(*, double=False, **options):
    options = TviLfmOptions(**options)
    setting = Setting(image_size=SIZE, text_length=77, identities=IDENTITIES, captions=8)
    system = TviLfm(options, TwoStreamOptions(text=SIZES), setting)
    state = TviLfm.from_official(official_state(backup=options.keeps_base))
    report = fit_state(system, state, minimum_share=1.0)
    assert (report.missing, report.reinitialised, report.resized) == ([], {}, {})
    assert all(name.startswith("text.") for name in report.left_over)
    assert not (options.reads_text and report.left_over)
    return system.double() if double else system


def pad(texts):
    tokens = torch.zeros(len(texts), 77, dtype=torch.int64)
    for row, ids in zip(tokens, texts, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return tokens


def make_batch(*, double=False):
    rng = np.random.RandomState(CASE["seed"] + 2)
    first, second, infrared = (
        torch.from_numpy(rng.standard_normal((CASE["batch"], 3, *SIZE)).astype("float32")) for _ in range(3)
    )
    if double:
        first, second, infrared = first.double(), second.double(), infrared.double()
    return Batch(
        images=first,
        second_images=second,
        infrared_images=infrared,
        tokens=pad(CASE["text_visible"]),
        infrared_tokens=pad(CASE["text_infrared"]),
        identity=torch.tensor(CASE["labels"]),
        global_size=CASE["batch"],
    )


def official_rows(features):
    """The rows of a step, group after group as published."""
    return features.rows.transpose(0, 1).flatten(0, 1)


@pytest.fixture(scope="module")
def evaluated():
    return build().eval(), make_batch()


def watch_maps(system, visible, infrared):
    """Maps behind the stem and each stage."""
    found = []
    stem = system.visual.visible if infrared is None else system.visual.infrared
    hooks = [
        part.register_forward_hook(lambda *given: found.append(given[2]))
        for part in (stem, *system.visual.stages)
    ]
    last = system.visual(visible, infrared)
    for hook in hooks:
        hook.remove()
    return found, last


@pytest.mark.parametrize("kind", ["visible", "infrared"])
def test_maps_and_pooled_features_of_both_modalities(evaluated, kind):
    system, batch = evaluated
    wanted = CASE["eval"][kind]
    pictures = (batch["images"], None) if kind == "visible" else (None, batch["infrared_images"])
    with torch.no_grad():
        found, last = watch_maps(system, *pictures)
        for maps, stage in zip(found, wanted["stages"].values(), strict=True):
            assert list(maps.shape) == stage["shape"]
            close(maps.sum(dim=(1, 2, 3)), stage["sum"], floor=0.1)
            close(maps.abs().sum(dim=(1, 2, 3)), stage["abs_sum"])
        pooled = system.pool(last)
        check_rows(pooled, wanted["gem"])
        check_rows(normalise(system.head.norm(pooled)), wanted["neck"])
        check_rows(normalise(system.base_head.norm(system.base_pool(last))), CASE["eval"]["backup"][kind])


def check_rows(found, wanted, relative=1e-4, floor=1e-5):
    close(found[:, :16], wanted["first"], relative, floor)
    close(found.abs().sum(dim=1), wanted["abs_sum"], relative)


@pytest.mark.parametrize(("kind", "key"), [("text_visible", "tokens"), ("text_infrared", "infrared_tokens")])
def test_text_features(evaluated, kind, key):
    system, batch = evaluated
    wanted = CASE["eval"][kind]
    with torch.no_grad():
        read = system.text.encode_text(batch[key], every_token=True)
        close(read.tokens.abs().sum(dim=(1, 2)), wanted["positions_abs_sum"])
        check_rows(read.pooled, wanted["end_token"])
        # Cut behind the last end token: the same to rounding (P16).
        short = system.text.encode_text(batch[key], length=int(batch[key].argmax(dim=1).max()) + 1)
        torch.testing.assert_close(short.pooled, read.pooled, rtol=0, atol=2e-6)
        check_rows(normalise(system.head.norm(read.pooled)), wanted["neck"])


@pytest.mark.parametrize("filtered", [True, False])
def test_fused_features(evaluated, filtered):
    system, batch = evaluated
    wanted = CASE["eval"]["fusion" if filtered else "fusion_without_filter"]
    with torch.no_grad():
        added = system.read_texts(batch, subtract=filtered)[1]
        fused = system.pool(system.visual(None, batch["infrared_images"])) + added
        check_rows(fused, wanted["raw"])
        check_rows(normalise(system.head.norm(fused)), wanted["neck"])


def test_scores_of_every_query_kind(evaluated):
    system, batch = evaluated
    wanted = CASE["eval"]["similarity"]
    query = {key: batch[key] for key in ("infrared_images", "tokens", "infrared_tokens")}
    with torch.no_grad():
        gallery = system.encode(Batch(images=batch["images"]), "image")
        found = system.encode_queries(Batch(**query), system.sides()[1:])
        for side, name in (
            ("infrared", "infrared_backup"),
            ("text", "text"),
            ("fused", "fusion"),
            ("ensemble", "ensemble"),
        ):
            close(found[side] @ gallery.T, wanted[name])
            assert torch.equal(system.encode(Batch(**query), side), found[side])
        del query["infrared_tokens"]
        own = system.encode(Batch(**query), "fused")
        close(own @ gallery.T, wanted["fusion_without_filter"])


def test_without_a_kept_head_infrared_queries_go_through_the_one_head(evaluated):
    batch = evaluated[1]
    system = build(**BASE).eval()
    with torch.no_grad():
        infrared, gallery = system.encode(batch, "infrared"), system.encode(batch, "image")
    close(infrared @ gallery.T, CASE["eval"]["similarity"]["infrared"])


STAGES = {"base": (BASE, "id_loss", "wrt_loss"), "incremental": (INCREMENTAL, "uni_id_loss", "uni_wrt_loss")}


@pytest.mark.parametrize("stage", STAGES)
def test_losses_and_rows_of_a_training_step(stage):
    options, identity, triplet = STAGES[stage]
    wanted = CASE[stage]
    system, batch = build(**options).train(), make_batch()
    features = system.features(batch, FIRST)
    rows = official_rows(features)
    check_rows(rows, wanted["rows"], 1e-3, 1e-4)
    close(torch.cdist(rows[:1], rows)[0], wanted["distance_of_first_row"], 1e-3, 1e-3)
    output = system.losses(features, batch, FIRST)
    close(output.losses["identity"], wanted["losses"][identity])
    close(output.losses["triplet"], wanted["losses"][triplet])
    close(output.metrics["accuracy"], wanted["losses"]["accuracy"])
    labels = batch["identity"].repeat(len(rows) // CASE["batch"])
    close(weighted_triplet(rows, labels), wanted["wrt_exact"])
    close(weighted_triplet(normalise(rows), labels, "published"), wanted["wrt_of_unit_rows"])


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_and_statistics_of_a_training_step(stage):
    wanted = CASE[stage]
    system, batch = build(**STAGES[stage][0], double=True).train(), make_batch(double=True)
    sum(system(batch, FIRST).losses.values()).backward()
    norms = {
        name: float(value.grad.norm()) for name, value in system.named_parameters() if value.grad is not None
    }
    renamed = {rename(name): norm for name, norm in wanted["gradient_norms"].items()}
    assert norms.keys() == renamed.keys() == {n for n, p in system.named_parameters() if p.requires_grad}
    for name, norm in renamed.items():
        assert norms[name] == pytest.approx(norm, rel=1e-6, abs=1e-12), name
    state = system.state_dict()
    for official, (mean, variance) in wanted["buffers"].items():
        name = rename(official)
        close(state[name].abs().sum(), mean)
        close(state[name.replace("running_mean", "running_var")].abs().sum(), variance)


def rename(official):
    return next(iter(TviLfm.from_official({official: torch.empty(0)})))


def test_frozen_norms_of_the_visual_tower_neither_move_nor_read_the_batch():
    wanted = CASE["incremental"]["frozen_norm"]
    system, batch = build(triplet="published").train(), make_batch()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    output = system(batch, FIRST)
    close(output.losses["identity"], wanted["uni_id_loss"])
    close(output.losses["triplet"], wanted["uni_wrt_loss"])
    close(sum(output.losses.values()), wanted["total"])
    close(output.metrics["accuracy"], wanted["accuracy"])
    after = system.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {f"head.norm.{part}" for part in ("running_mean", "running_var", "num_batches_tracked")}


OPTIONAL = Losses(orthogonality=1, text_alignment=1, infrared_alignment=1)
OTHER_MODES = {
    "uni without filter": (
        {**INCREMENTAL, "feature_filter": False},
        {"identity": "uni_id_loss", "triplet": "uni_wrt_loss"},
    ),
    "ir_crossfusion without filter": (
        {**INCREMENTAL, "rows": ("visible", "fused"), "feature_filter": False},
        {"identity": "id_loss", "triplet": "wrt_loss"},
    ),
    "ir_crossfusion with filter": (
        {**INCREMENTAL, "rows": ("visible", "fused")},
        {"identity": "id_loss", "triplet": "wrt_loss"},
    ),
    "RGB_Text": (
        {**INCREMENTAL, "rows": ("visible", "text")},
        {"identity": "id_loss", "triplet": "wrt_loss"},
    ),
}


@pytest.mark.parametrize("mode", OTHER_MODES)
def test_other_choices_of_rows(mode):
    options, names = OTHER_MODES[mode]
    output = build(**options).train()(make_batch(), FIRST)
    for ours, official in names.items():
        close(output.losses[ours], CASE["other_modes"][mode][official])
    close(output.metrics["accuracy"], CASE["other_modes"][mode]["accuracy"])


def test_optional_losses():
    wanted = CASE["other_modes"]["uni, optional losses"]
    system = build(**INCREMENTAL, losses=OPTIONAL, alignment_scale=CASE["scale"]).train()
    found = system(make_batch(), FIRST).losses
    close(found["orthogonality"], wanted["uni_orth_loss"])
    close(found["orthogonality"] * CASE["batch"] ** 2, wanted["uni_orth2_loss"])
    close(found["text_alignment"], wanted["T2I_Regular_loss"])
    close(found["infrared_alignment"], wanted["I2T_Regular_loss"])
    rows = ("visible", "fused", "text")
    without = build(**INCREMENTAL, rows=rows).train()(make_batch(), FIRST).losses
    close(without["identity"], wanted["uni_id_woir_loss"])
    close(without["triplet"], wanted["uni_wrt_woir_loss"])
