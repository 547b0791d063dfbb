"""A small TVI-LFM gives the published features, losses, gradients, statistics and groups (tvi_lfm.json)."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from tests.marks import slow_except
from tests.parity.fixtures import read_adam, read_fixture, read_schedule
from tests.parity.weights import nothing_drawn, random_state_dict
from tpr.data.samples.batch import Batch
from tpr.data.text.tokens import tokenize
from tpr.engine.optim import build_optimizer, group_parameters
from tpr.engine.schedule import rate_factor
from tpr.models import fit_state
from tpr.models.architecture import read_text_architecture
from tpr.models.resnet import GeneralisedMean
from tpr.models.text_tower import TextTower, stretch_columns
from tpr.models.two_stream import TwoStreamOptions
from tpr.objectives.contrastive import normalise
from tpr.objectives.triplet import weighted_triplet
from tpr.systems import load_system
from tpr.systems.base import Progress, Setting
from tpr.systems.tvi_lfm import TviLfm
from tpr.systems.tvi_lfm_options import Losses, TviLfmOptions

CASE = read_fixture("tvi_lfm")
FIRST = Progress(seed=1, epoch=1, step=0)
IDENTITIES, SIZE = CASE["identities"], (CASE["height"], CASE["width"])
REAL = CASE["real"]
LENGTH = CASE["shapes"]["base_model.positional_embedding"][0]
OUTPUT = CASE["shapes"]["base_model.text_projection"][1]
BASE = {"rows": ("visible", "infrared"), "visual": "trained", "triplet": "published"}
INCREMENTAL = {"visual": "drifting", "triplet": "published"}


def read_text_tower(shapes):
    """The text tower in a state of official names."""
    state = {
        name.removeprefix("base_model."): torch.empty(shape, device="meta") for name, shape in shapes.items()
    }
    return read_text_architecture(state)


SIZES = read_text_tower(CASE["shapes"])


def close(found, wanted, relative=1e-4, floor=1e-5):
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(found).detach().double(), wanted, rtol=relative, atol=floor)


@cache
def official_state(*, backup=True):
    state = random_state_dict(CASE["shapes"], CASE["seed"], fan_in=True)
    for name in CASE["quarter"]:
        state[name] *= 0.25
    second = random_state_dict(CASE["backup_shapes"], CASE["seed"] + 1, fan_in=True)
    return state | second if backup else state


def bare(options, *, sizes=SIZES, identities=IDENTITIES, size=SIZE):
    """The system with weights of its own."""
    setting = Setting(image_size=size, text_length=LENGTH, identities=identities, captions=CASE["batch"])
    return TviLfm(options, TwoStreamOptions(text=sizes), setting)


def build(*, double=False, **options):
    """The system with the published weights."""
    options = TviLfmOptions(**options)
    with nothing_drawn():
        system = bare(options)
    state = TviLfm.official.rename(official_state(backup=options.keeps_base))
    report = fit_state(system, state, minimum_share=1.0)
    assert (report.missing, report.reinitialised, report.resized) == ([], {}, {})
    assert all(name.startswith("text.") for name in report.left_over)
    assert not (options.reads_text and report.left_over)
    return system.double() if double else system


def pad(texts):
    tokens = torch.zeros(len(texts), LENGTH, dtype=torch.int64)
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
    images = (batch["images"], None) if kind == "visible" else (None, batch["infrared_images"])
    with torch.no_grad():
        found, last = watch_maps(system, *images)
        for maps, stage in zip(found, wanted["stages"].values(), strict=True):
            assert list(maps.shape) == stage["shape"]
            close(maps.sum(dim=(1, 2, 3)), stage["sum"], floor=0.1)
            close(maps.abs().sum(dim=(1, 2, 3)), stage["abs_sum"])
        pooled = system.pool(last)
        check_rows(pooled, wanted["gem"])
        check_rows(normalise(system.head.norm(pooled)), wanted["neck"])
        check_rows(normalise(system.base_head.norm(system.base_pool(last))), CASE["eval"]["backup"][kind])


def check_rows(found, wanted, relative=1e-4, floor=1e-5):
    close(found[:, : len(wanted["first"][0])], wanted["first"], relative, floor)
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
        plain = build(**INCREMENTAL, feature_filter=False).eval()
        close(plain.encode(Batch(**query), "fused") @ gallery.T, wanted["fusion_without_filter"])


@pytest.mark.slow
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


@pytest.mark.parametrize("stage", slow_except({"incremental"}, STAGES))
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
    return next(iter(TviLfm.official.rename({official: torch.empty(0)})))


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_rows_without_infrared_ones():
    wanted = CASE["other_modes"]["uni, optional losses"]
    rows = ("visible", "fused", "text")
    without = build(**INCREMENTAL, rows=rows).train()(make_batch(), FIRST).losses
    close(without["identity"], wanted["uni_id_woir_loss"])
    close(without["triplet"], wanted["uni_wrt_woir_loss"])


SYSU = "incremental sysu and llcm"


def list_rates(stage):
    """[Learning rate, decay] by official name, the unused scale apart."""
    wanted = CASE["param_groups"][stage]
    pairs = zip(wanted["lr"], wanted["weight_decay"], strict=True)
    rates = dict(zip(CASE["parameters"], map(list, pairs), strict=True))
    return {name: pair for name, pair in rates.items() if name != "logit_scale"}


def read_rates(stage):
    """Options of the system and of Adam behind a published stage's rates."""
    rates = list_rates(stage)
    attention = "base_model.transformer.resblocks.0.attn.in_proj"
    text, text_bias = rates[f"{attention}_weight"], rates[f"{attention}_bias"]
    base, decay = rates["base_model.visual.rgb_model.resnet_conv.0.weight"]
    bias = rates["base_model.visual.rgb_model.resnet_conv.1.bias"]
    options = TviLfmOptions(
        **(BASE if stage.startswith("base") else INCREMENTAL),
        text_lr=text[0],
        text_bias_lr=text_bias[0] / text[0],
        text_bias_decay=text_bias[1] / decay,
        visual_bias_lr=bias[0] / base,
        visual_bias_decay=bias[1] / decay,
        head_lr=rates["classifier.classifier.weight"][0] / base,
    )
    return options, read_adam(CASE["param_groups"][stage], [(base, decay)])


@pytest.mark.parametrize("stage", CASE["param_groups"])
def test_parameter_groups_and_adam_of_the_stages(stage):
    rates = {rename(name): pair for name, pair in list_rates(stage).items()}
    options, optim = read_rates(stage)
    with torch.device("meta"):
        system = bare(options)
    groups = group_parameters(system, optim)
    found = {name: [group["lr"], group["weight_decay"]] for group in groups for name in group["names"]}
    assert found.keys() == {name for name, value in system.named_parameters() if value.requires_grad}
    for parameter, pair in found.items():
        assert pair == pytest.approx(rates[parameter]), parameter
    adam = build_optimizer(system, optim)
    assert isinstance(adam, torch.optim.Adam)
    wanted = CASE["param_groups"][stage]
    assert [list(adam.defaults["betas"]), adam.defaults["eps"]] == [wanted["betas"], wanted["eps"]]


def test_base_training_gives_every_part_its_published_rate():
    """The published base run also lists the text tower, at its own rate, though it learns nothing there."""
    options, optim = read_rates("base regdb")
    with torch.device("meta"):
        system = bare(replace(options, rows=TviLfmOptions.rows))
    groups = group_parameters(system, optim)
    found = {name: [group["lr"], group["weight_decay"]] for group in groups for name in group["names"]}
    wanted = {rename(name): pair for name, pair in list_rates("base regdb").items() if "backup" not in name}
    assert found.keys() == wanted.keys()
    for name, pair in wanted.items():
        assert found[name] == pytest.approx(pair), name


def test_the_learning_rate_by_epoch():
    schedule = read_schedule(CASE["lr_factor_by_epoch"])
    found = [rate_factor(schedule, epoch) for epoch in range(1, schedule.epochs + 1)]
    assert found == pytest.approx(CASE["lr_factor_by_epoch"], rel=1e-6)


@pytest.mark.parametrize("case", CASE["gem"]["cases"], ids=lambda case: f"p={case['p']}")
def test_generalised_mean(case):
    drawn = np.random.RandomState(CASE["gem"]["seed"]).uniform(-1, 3, (2, 3, 4, 2)).astype("float32")
    maps, pool = torch.from_numpy(drawn).requires_grad_(), GeneralisedMean(case["p"])
    output = pool(maps)
    close(output, case["output"])
    output.sum().backward()
    close(pool.p.grad[0], case["gradient_p"])
    close(maps.grad.norm(), case["gradient_input_norm"])


@pytest.mark.parametrize("form", ["published", "exact"])
@pytest.mark.parametrize("case", CASE["wrt"], ids=lambda case: f"seed {case['seed']}")
def test_weighted_triplet(case, form):
    rng = np.random.RandomState(case["seed"])
    identity = np.arange(case["rows"]) % case["identities"]
    centres = rng.standard_normal((case["identities"], case["dim"]))
    noise = rng.standard_normal((case["rows"], case["dim"]))
    drawn = (case["scale"] * (noise + centres[identity])).astype("float32")
    rows = torch.from_numpy(drawn).requires_grad_()
    loss = weighted_triplet(rows, torch.from_numpy(identity), form)
    loss.backward()
    close(loss, case[form]["loss"])
    close(rows.grad.norm(), case[form]["gradient_norm"])


@pytest.mark.parametrize("case", CASE["stretch"], ids=lambda case: f"{case['columns']} to {case['to']}")
def test_stretched_columns(case):
    shape = (case["rows"], case["columns"])
    drawn = np.random.RandomState(case["seed"]).standard_normal(shape).astype("float32")
    close(stretch_columns(torch.from_numpy(drawn), case["to"]), case["output"])


def test_the_text_projection_of_clip_is_stretched_while_it_is_loaded():
    case = CASE["text_projection_from_clip"]
    tower = TextTower(SIZES, output=OUTPUT, text_length=LENGTH, quick_gelu=True)
    columns = case["shapes"]["text_projection"][1]
    report = fit_state(tower, random_state_dict(case["shapes"], case["seed"]), minimum_share=1.0)
    assert report.resized == {"text_projection": f"{columns} -> {OUTPUT} columns"}
    assert (columns, tower.text_projection.shape[1]) == (case["shape"][1], OUTPUT)
    close(tower.text_projection[0, : len(case["first_row"])], case["first_row"])
    close(tower.text_projection.abs().sum(), case["abs_sum"])


@pytest.fixture(scope="module")
def full_size():
    options = read_rates(SYSU)[0]
    with torch.device("meta"):
        return bare(
            options, sizes=read_text_tower(REAL["base"]), identities=REAL["identities"], size=(288, 144)
        )


def test_keys_and_shapes_of_the_real_checkpoints(full_size):
    real = CASE["real"]
    official = {
        name: torch.empty(shape, device="meta")
        for name, shape in (real["base"] | real["trained_adds"]).items()
    }
    wanted = {name: list(value.shape) for name, value in TviLfm.official.rename(official).items()}
    assert {name: list(value.shape) for name, value in full_size.state_dict().items()} == wanted
    without = TviLfm.official.rename(
        {name: value for name, value in official.items() if name in REAL["base"]}
    )
    absent = full_size.state_dict().keys() - without.keys()
    assert {name.split(".")[0] for name in absent} == {"base_pool", "base_head", "base_is_kept"}


def test_numbers_of_parameters_at_full_size(full_size):
    names = [*REAL["base"], *REAL["trained_adds"]]
    parameters = dict(full_size.named_parameters())
    for prefix, count in REAL["parameter_counts"].items():
        ours = [rename(name) for name in names if name.startswith(prefix) and name != "logit_scale"]
        found = sum(parameters[name].numel() for name in ours if name in parameters)
        assert found == (0 if prefix == "logit_scale" else count), prefix


def test_values_by_rate_of_the_sysu_recipe(full_size):
    """The published optimiser lists frozen weights too, which never get a gradient; ours leaves them out."""
    options, optim = read_rates(SYSU)
    base, head = (f"{rate:.3g}" for rate in (optim.lr, optim.lr * options.head_lr))
    found = {rate: [1, 1] if rate == base else [0, 0] for rate in REAL["values_by_lr_sysu"]}  # logit scale
    groups = group_parameters(full_size, optim)
    rate_of = {name: f"{group['lr']:.3g}" for group in groups for name in group["names"]}
    assert {name.split(".")[0] for name in rate_of} == {"text", "head"}
    for name, value in full_size.named_parameters():
        of_frozen = head if name.startswith("base_head.") else base
        counted = found[rate_of.get(name, of_frozen)]
        counted[0] += 1
        counted[1] += value.numel()
    assert found == REAL["values_by_lr_sysu"]


def test_the_last_stage_keeps_its_resolution(full_size):
    with torch.device("meta"):
        maps = full_size.visual(torch.empty(1, 3, 288, 144), None)
    assert maps.shape == (1, 2048, 18, 9)


@pytest.mark.slow
@pytest.mark.parametrize("backup", slow_except({False}, [True, False]))
def test_an_official_checkpoint_is_loaded_by_its_content(tmp_path, backup):
    path = tmp_path / "vi.pth"
    torch.save({f"module.{name}": value for name, value in official_state(backup=backup).items()}, path)
    system = load_system(path)
    assert isinstance(system, TviLfm)
    assert system.setting.image_size == (288, 144) and system.setting.identities == IDENTITIES
    assert system.has_base == backup
    batch = make_batch()
    with torch.no_grad():
        found = system.encode(batch, "infrared") @ system.encode(batch, "image").T
    close(found, CASE["eval"]["similarity"]["infrared_backup" if backup else "infrared"])


SPEC_POINTS = torch.tensor([[0, 0], [1, 0], [0, 2], [3, 0], [3, 1], [4, 4]], dtype=torch.float64)
SPEC_PEOPLE = torch.tensor([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("scale", "published", "exact"),
    [
        (1, 0.6176891476428216, 0.617675),
        (5, 8.685025, 2.751237),
        (10, 29.751736, 5.464485),
        (20, 59.595079, 10.946028),
    ],
)
def test_the_spec_s_six_points(scale, published, exact):
    assert float(weighted_triplet(SPEC_POINTS * scale, SPEC_PEOPLE, "published")) == pytest.approx(
        published, rel=1e-6
    )
    assert float(weighted_triplet(SPEC_POINTS * scale, SPEC_PEOPLE)) == pytest.approx(exact, rel=1e-5)


def test_the_spec_s_sines():
    places = torch.arange(12, dtype=torch.float64)
    rows = torch.sin(4 * places[:, None] + torch.arange(4) + 1)
    people = torch.arange(12) % 3
    assert float(weighted_triplet(rows, people, "published")) == pytest.approx(0.5972846937372832, rel=1e-9)
    unit = normalise(rows)
    assert float(weighted_triplet(unit, people, "published")) == pytest.approx(0.5257018560012294, rel=1e-9)


def test_the_spec_s_pooled_channels():
    maps = torch.tensor([[[[0.0, 1], [2, 3]], [[-1, 0.5], [0, 4]]]])
    close(GeneralisedMean()(maps), [[2.080083823, 2.521481555]], 1e-6)


def test_the_spec_s_stretched_row():
    row = torch.tensor([[1.0, 2, 4, 8]])
    assert stretch_columns(row, 8).tolist() == [[1, 1.25, 1.75, 2.5, 3.5, 5, 7, 8]]


def test_the_spec_s_ensemble():
    infrared, text, infrared_text, gallery = (
        torch.tensor([values]) for values in ([1.0, 2, -1], [0.5, 0, 1], [0.5, -1, 0], [0.6, 0.8, 0])
    )
    fused = infrared + text - infrared_text
    assert fused.tolist() == [[1, 3, 0]]
    cosines = [float(normalise(side) @ gallery.T) for side in (fused, infrared, text)]
    assert cosines == pytest.approx([0.948683, 0.898146, 0.268328], abs=1e-6)
    assert sum(cosines) == pytest.approx(2.115157, abs=1e-6)


def test_the_tokenizer_on_a_published_caption():
    wanted = [49406, 320, 786, 593, 320, 1449, 339, 268, 2523, 269, 49407]
    assert tokenize(["a man with a black t - shirt."])[0, : len(wanted)].tolist() == wanted
