"""A small RDE gives the published embeddings, losses, gradients, divisions and draws (rde.json)."""

import random
from functools import cache

import numpy as np
import pytest
import torch

from tests.parity.fixtures import (
    count_patches,
    describe_resize,
    find_image_size,
    load_official,
    read_adam,
    read_fixture,
    read_schedule,
    read_towers,
)
from tests.parity.weights import nothing_drawn, random_state_dict
from tpr.data.samples.batch import Batch
from tpr.data.samples.noise import draw_noise
from tpr.data.text.text_augment import change_words
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.engine.optim import build_optimizer, group_parameters
from tpr.engine.schedule import rate_factor
from tpr.models import ClipOptions, fit_state
from tpr.models.token_selection import select_patches, select_words
from tpr.objectives import tal
from tpr.objectives.consensus import MixtureOptions, find_clean, fit_mixture, mark_clean, settle, vote
from tpr.objectives.contrastive import normalise
from tpr.objectives.per_pair import PairLabels, PairObjective, loss_per_pair
from tpr.objectives.triplet import trl
from tpr.systems.base import Progress, Setting
from tpr.systems.rde import Rde, RdeOptions

CASE = read_fixture("rde")
PER_SAMPLE = read_fixture("visible_infrared_rde")["rde"]
FIRST = Progress(seed=1, epoch=1, step=0)
PAIRS = len(CASE["pids"])
ARCHITECTURE = read_towers(CASE["clip_shapes"])
LENGTH = CASE["clip_shapes"]["positional_embedding"][0]
SELECTED_WIDTH = CASE["tse_shapes"]["visul_emb_layer.fc.weight"][0]
TOWERS = {name: pair for name, pair in CASE["param_groups"].items() if name.startswith("base_model.")}
ADAM = read_adam(CASE["adam"], TOWERS.values())
PUBLISHED = {name: CASE[name] for name in ("tau", "margin", "select_ratio")} | {
    "selected_width": SELECTED_WIDTH,
    "selection_lr": CASE["param_groups"]["visul_emb_layer.fc.weight"][0],
    "bias_lr": TOWERS["base_model.ln_final.bias"][0] / ADAM.lr,
}
MASK = read_fixture("metrics")["special"]["mask"]
"""The ids of words lie below it."""
LABEL = torch.tensor(CASE["label"])
EXACTLY_ZERO = {f"{side}_selection.enter.bias" for side in ("image", "text")}
"""In front of a batch norm that takes the mean away."""


def close(found, wanted, relative=1e-4, floor=1e-5):
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(found).detach().double(), wanted, rtol=relative, atol=floor)


@cache
def official_state():
    towers = random_state_dict(CASE["clip_shapes"], CASE["seed"])
    layers = random_state_dict(CASE["tse_shapes"], CASE["seed"] + 1)
    return {f"base_model.{name}": value for name, value in towers.items()} | layers


def build(loss="tal", norm="frozen"):
    # The published captions are listed, and none is augmented.
    options = RdeOptions(loss=loss, norm=norm, augment_text=0, **PUBLISHED)
    setting = Setting(
        image_size=tuple(CASE["image_size"]), text_length=LENGTH, identities=None, captions=PAIRS
    )
    with nothing_drawn():
        system = Rde(options, ClipOptions(architecture=ARCHITECTURE), setting)
    report = fit_state(system, Rde.official.rename(official_state()), minimum_share=1.0)
    assert (report.missing, report.left_over, report.reinitialised) == ([], [], {})
    assert report.resized == describe_resize(CASE["clip_shapes"], CASE["image_size"])
    system.division.marks.fill(LABEL[:, None].float())
    return system


def make_batch(captions="caption_ids"):
    rng = np.random.RandomState(CASE["seed"] + 2)
    tokens = torch.zeros(PAIRS, LENGTH, dtype=torch.int64)
    for row, ids in zip(tokens, CASE[captions], strict=True):
        row[: len(ids)] = torch.tensor(ids)
    identity = torch.tensor(CASE["pids"])
    return Batch(
        images=torch.from_numpy(rng.standard_normal((PAIRS, 3, *CASE["image_size"])).astype("float32")),
        tokens=tokens,
        identity=identity,
        text_identity=identity,
        owner=torch.arange(PAIRS),
        caption_index=torch.arange(PAIRS),
        global_size=PAIRS,
    )


@pytest.fixture(scope="module")
def batch():
    return make_batch()


@pytest.fixture(scope="module")
def features(batch):
    with torch.no_grad():
        return build().eval().features(batch, FIRST)


def test_embeddings(features):
    wanted = CASE["eval"]
    system = build()
    for side, both in (("image", features.images), ("text", features.texts)):
        pooled, selected = system.cut(both)
        close(pooled, wanted[f"{side}_feature"])
        close(selected, wanted[f"{side}_tse"])


def test_similarity_is_one_product(batch):
    system = build().eval()
    with torch.no_grad():
        images, texts = system.encode(batch, "image"), system.encode(batch, "text")
    close(texts @ images.T, CASE["eval"]["similarity"]["mean"])
    widths = system.widths
    for name, part in (("bge", slice(widths[0])), ("tse", slice(widths[0], None))):
        close(2 * texts[:, part] @ images[:, part].T, CASE["eval"]["similarity"][name])


def test_attention_and_selected_positions(batch):
    system, wanted = build().eval(), CASE["eval"]
    with torch.no_grad():
        seen = system.base_model.encode_image(batch["images"], every_token=True, attention=True)
        read = system.base_model.encode_text(batch["tokens"], every_token=True, attention=True)
    close(seen.tokens.double().abs().sum(dim=(1, 2)), wanted["image_tokens_abs"])
    close(read.tokens.double().abs().sum(dim=(1, 2)), wanted["text_tokens_abs"])
    close(seen.attention, wanted["image_attention"], floor=1e-7)
    grid = count_patches(CASE["clip_shapes"], CASE["image_size"])
    counts = [int(length * CASE["select_ratio"]) for length in (grid, LENGTH - 2)]
    assert [system.patches, system.words] == counts
    for row, places in zip(select_patches(seen.attention, counts[0]), wanted["image_selected"], strict=True):
        assert sorted(row.tolist()) == places
    words = select_words(read.attention, batch["tokens"], counts[1], tokenizer=CLIP_TOKENIZER)
    for row, attention in enumerate(wanted["text_attention"]):
        close(read.attention[row, : len(attention)], attention, floor=1e-7)
        pooled = words.positions[row][words.is_pooled[row]]
        assert sorted(pooled.tolist()) == wanted["text_selected"][row]


@pytest.mark.parametrize("name", ["TAL", "TRL", "InfoNCE", "SDM"])
def test_losses_of_pairs_and_of_the_clean_ones(batch, features, name):
    system, wanted = build(name.lower()), CASE["frozen"]["losses"][name]
    with torch.no_grad():
        each = system.find_losses(features, batch)
        output = system.losses(features, batch, FIRST)
    close(each, torch.tensor([wanted["bge"], wanted["tse"]]).T)
    close(output.losses["global"], wanted["bge_loss"])
    close(output.losses["selected"], wanted["tse_loss"])
    close(output.metrics["clean"], LABEL.double().mean())


@pytest.mark.parametrize(("norm", "captions"), [("frozen", "caption_ids"), ("train", "long_caption_ids")])
def test_gradients_of_a_training_step(norm, captions):
    system, wanted = build(norm=norm), CASE[norm]
    batch = make_batch(captions)
    features = system.features(batch, FIRST)
    total = sum(system.losses(features, batch, FIRST).losses.values())
    close(total, wanted["total"])
    total.backward()
    published = rename(wanted["grad_norms"])
    for name, parameter in system.named_parameters():
        found = parameter.grad.double().norm().item()
        if norm == "train" and name in EXACTLY_ZERO:
            assert found < 1e-5
            continue
        tolerance = 1e-4 if published[name] >= 1e-6 else 1e-3
        assert found == pytest.approx(published[name], rel=tolerance, abs=1e-6), name


def rename(by_official_name):
    """Any values under our names; a name of the towers tells that the layout is IRRA's."""
    renamed = Rde.official.rename({"base_model.marker": None, **by_official_name})
    return {name: value for name, value in renamed.items() if name != "base_model.marker"}


def test_what_never_gets_a_gradient_is_not_built():
    assert rename(dict.fromkeys(CASE["no_gradient"], 0.0)) == {}
    built = {name for name, _ in build().named_parameters()}
    assert set(rename(CASE["frozen"]["grad_norms"])) == built


def test_embeddings_and_statistics_of_a_norm_in_training():
    system = build(norm="train").train()
    batch = make_batch("long_caption_ids")
    with torch.no_grad():
        features = system.features(batch, FIRST)
        each = system.find_losses(features, batch)
    for side, both in (("image", features.images), ("text", features.texts)):
        close(system.cut(both)[1], CASE["train"][f"{side}_tse"])
    state = system.state_dict()
    for name, wanted in rename(CASE["train"]["batch_norm_after"]).items():
        close(state[name], wanted)
    wanted = CASE["train"]["losses"]["TAL"]
    close(each, torch.tensor([wanted["bge"], wanted["tse"]]).T)


def test_a_frozen_norm_keeps_its_statistics_in_training():
    system = build(norm="frozen").train()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    system.features(make_batch(), FIRST)
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())


def test_parameter_groups_rates_and_adam():
    system = build()
    groups = group_parameters(system, ADAM)
    found = {name: [group["lr"], group["weight_decay"]] for group in groups for name in group["names"]}
    wanted = rename(CASE["param_groups"])
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=1e-12), name
    assert len(groups) == len(set(map(tuple, CASE["param_groups"].values())))
    optimizer = build_optimizer(system, ADAM)
    assert list(optimizer.defaults["betas"]) == CASE["adam"]["betas"]
    assert optimizer.defaults["eps"] == CASE["adam"]["eps"]
    wanted = CASE["lr_factor_by_epoch"]
    schedule = read_schedule(wanted)
    factors = [rate_factor(schedule, epoch, 0.0) for epoch in range(1, schedule.epochs + 1)]
    assert factors == pytest.approx(wanted, rel=1e-9)


def draw_losses(case, rng, base):
    w = 0.8 * base + 0.6 * rng
    losses = np.where(case["is_noisy"], case["gap"] + 0.3 * w, 0.35 + 0.15 * w)
    return losses.clip(0).astype(np.float32)


@pytest.mark.parametrize("case", CASE["division"], ids=lambda case: case["dataset"])
def test_division(case):
    rng = np.random.RandomState(case["seed"])
    count = case["samples"]
    noisy = rng.rand(count) < case["fraction"]
    base, a, b = (rng.standard_normal(count) for _ in range(3))
    given = case["mixture"]
    options = MixtureOptions(
        iterations=given["max_iter"], tolerance=given["tol"], added_variance=given["reg_covar"]
    )
    both, votes = [], []
    for name, own in (("bge", a), ("tse", b)):
        losses = draw_losses({**case, "is_noisy": noisy}, own, base)
        assert losses.astype(np.float64).sum() == pytest.approx(case[f"loss_{name}_sum"], rel=1e-6)
        losses = losses.astype(np.float64)
        mixture = fit_mixture(losses, options)
        for part in ("means", "variances", "weights"):
            close(getattr(mixture, part), case[name][part], relative=1e-3)
        close(mixture.probability[::5], case[name]["probability"], relative=1e-3, floor=1e-3)
        assert "".join(str(int(mark)) for mark in vote(losses, options)) == case[name]["clean"]
        both.append(losses)
        votes.append(vote(losses, options))
    agree = (votes[0].astype(int) + votes[1]).tolist()
    assert "".join(map(str, agree)) == case["agree"]
    ties = votes[0] != votes[1]
    torch.manual_seed(case["torch_seed"])
    draws = np.zeros(count, dtype=bool)
    draws[ties] = torch.randint(0, 2, (int(ties.sum()),)).numpy().astype(bool)
    label = settle(*votes, draws)
    assert "".join(str(int(mark)) for mark in label) == case["label"]
    assert (find_clean(np.stack(both, axis=1), options, draws) == label).all()


def test_probabilities_become_marks():
    for case in CASE["split"]:
        marks = mark_clean(np.array(case["probability"]))
        assert "".join(str(int(mark)) for mark in marks) == case["clean"]


def test_text_augmentation():
    for case in CASE["text_augmentation"]:
        ids = CASE["caption_ids"][case["caption"]]
        random.seed(case["python_seed"])
        uniform, words = torch.zeros(1, LENGTH), torch.zeros(1, LENGTH, dtype=torch.int64)
        for place, number in enumerate(ids):
            if 0 < number < MASK:
                drawn = random.random()
                uniform[0, place] = drawn
                if 0.6 <= drawn / 0.2 < 0.8:
                    words[0, place] = random.choice(range(1, MASK))
        tokens = torch.zeros(1, LENGTH, dtype=torch.int64)
        tokens[0, : len(ids)] = torch.tensor(ids)
        changed = change_words(tokens, 0.2, uniform, words, tokenizer=CLIP_TOKENIZER)[0].tolist()
        assert changed == case["ids"] + [0] * (LENGTH - len(case["ids"]))


def test_noise_index():
    for case in CASE["noise_index"]:
        index = draw_noise(case["captions"], case["rate"], case["numpy_seed"])
        assert index.tolist() == case["index"]
        unchanged = index == np.arange(len(index))
        assert "".join(str(int(same)) for same in unchanged) == case["clean"]


def make_pairs(case):
    rng = np.random.RandomState(case["seed"])
    identity = rng.randint(0, case["identities"], case["batch"])
    centres = rng.standard_normal((case["identities"], case["dim"]))
    sides = [
        torch.from_numpy((rng.standard_normal((case["batch"], case["dim"])) + centres[identity]).astype("f4"))
        for _ in range(2)
    ]
    return torch.from_numpy(identity), [side.requires_grad_() for side in sides]


@pytest.mark.parametrize("case", PER_SAMPLE, ids=lambda case: str(case["seed"]))
@pytest.mark.parametrize("name", ["TAL", "TRL", "InfoNCE", "SDM"])
def test_losses_per_sample(case, name):
    identity, (images, texts) = make_pairs(case)
    objective = PairObjective(loss=name.lower(), tau=case["tau"], margin=case["margin"], scale=50)
    labels = PairLabels(identity, identity, torch.arange(len(identity)))
    each = loss_per_pair(images, texts, labels, objective)
    close(each, case[name]["per_sample"])
    each.sum().backward()
    close(images.grad.norm(), case[name]["grad_image_norm"])
    close(texts.grad.norm(), case[name]["grad_text_norm"])
    if name in ("TAL", "TRL"):
        scores = normalise(texts) @ normalise(images).T
        function = {"TAL": tal, "TRL": trl}[name]
        close(function(scores, identity, case["tau"], case["margin"]), case[name]["per_sample"])


def test_the_toy_pairs_of_the_specification():
    i, j = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    images = torch.cos(1.3 * i + 0.7 * j + 0.5 * i * j) + 0.5
    texts = torch.sin(0.9 * i + 1.1 * j + 0.4 * i * j) + 0.5
    identity = torch.tensor([0, 1, 0, 2, 3, 1])
    scores = normalise(texts) @ normalise(images).T
    close(tal(scores, identity, 0.015, 0.1), [0, 0, 0.09346, 1.71963, 2.35805, 1.34289])
    close(tal(scores, identity, 0.1, 0.2), [0.02582, 0.01044, 0.44079, 2.00028, 2.61842, 1.5523])
    close(trl(scores, identity, 0.02, 0.2), [0, 0, 0.27104, 1.91911, 2.55798, 1.54289])
    labels = PairLabels(identity, identity, torch.arange(6))
    for loss, total in (("infonce", 172.42352), ("sdm", 121.49639)):
        objective = PairObjective(loss=loss, tau=0.015, margin=0.1, scale=50)
        close(loss_per_pair(images, texts, labels, objective).sum(), total)


def test_the_released_layout_is_ours():
    shapes = {name.removeprefix("base_model."): shape for name, shape in CASE["released_layout"].items()}
    width = shapes["visul_emb_layer.fc.weight"][0]
    length = shapes["positional_embedding"][0]
    setting = Setting(image_size=find_image_size(shapes), text_length=length, identities=None, captions=0)
    with torch.device("meta"):
        options = RdeOptions(selected_width=width)
        system = Rde(options, ClipOptions(architecture=read_towers(shapes)), setting)
    own = {name: list(value.shape) for name, value in system.state_dict().items()}
    assert rename(CASE["released_layout"]) == own
    assert Rde.official.options(system.state_dict()) == options


@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_official_checkpoint_loads_without_complaint_and_ranks_as_published(
    prefix, batch, tmp_path, caplog
):
    state = {prefix + name: value for name, value in official_state().items()}
    torch.save({"model": state, "epoch": 60}, tmp_path / "best.pth")
    caplog.set_level("INFO")
    system = load_official(tmp_path / "best.pth", CASE["image_size"], select_ratio=CASE["select_ratio"])
    assert isinstance(system, Rde)
    assert system.options.selected_width == SELECTED_WIDTH
    with torch.no_grad():
        images, texts = system.encode(batch, "image"), system.encode(batch, "text")
    close(texts @ images.T, CASE["eval"]["similarity"]["mean"])
    report = next(record.getMessage() for record in caplog.records if "tensors fit" in record.getMessage())
    assert not any(word in report for word in ("missing", "left over", "new because"))
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
