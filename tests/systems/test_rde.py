"""RDE: the contract of every system, marks that choose the pairs, and when and how pairs are divided."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from tests.marks import slow_except
from tests.systems.small_systems import CAPTIONS, FIRST, SETTING, SMALL, make_batch
from tpr.config.schema import OptimOptions
from tpr.config.typed import build_options
from tpr.engine.optim import group_parameters
from tpr.errors import ConfigError
from tpr.models import ClipOptions
from tpr.objectives.consensus import DivisionOptions, MixtureOptions
from tpr.systems.base import EpochContext, Progress
from tpr.systems.rde import Rde, RdeOptions

LOSSES = ["tal", "trl", "infonce", "sdm"]
LONGEST = 16
"""Positions that the longest of the small captions needs, rounded up."""


def make_rde(setting=SETTING, seed=0, **options):
    torch.manual_seed(seed)
    settings = {"selected_width": 16, "temperature": 0.1, "norm": "frozen", **options}
    return Rde(RdeOptions(**settings), ClipOptions(architecture=SMALL), setting)


def mark(system, marks):
    padded = torch.ones(system.setting.captions, 1)
    padded[: len(marks), 0] = torch.tensor(marks, dtype=torch.float32)
    system.division.marks.fill(padded)


def total_of(system, batch, progress=FIRST):
    return sum(system(batch, progress).losses.values())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", ["train", "frozen"])
@pytest.mark.parametrize("captions_per_image", [1, 2])
def test_losses_are_finite_and_every_parameter_gets_a_gradient(loss, norm, captions_per_image):
    setting = replace(SETTING, captions=12, captions_per_image=captions_per_image)
    system = make_rde(setting, loss=loss, norm=norm)
    output = system(make_batch(captions_per_image), FIRST)
    assert set(output.losses) == {"global", "selected"}
    assert all(value > 0 and torch.isfinite(value) for value in output.losses.values())
    sum(output.losses.values()).backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        is_biased = "enter.bias" in name and norm == "train"  # the norm behind it takes the mean away
        assert parameter.grad.any() or is_biased, name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", ["train", "frozen"])
def test_a_rank_without_rows_has_zero_losses_and_zero_gradients(loss, norm, monkeypatch):
    system, batch = make_rde(loss=loss, norm=norm), make_batch()
    with torch.no_grad():
        features = system.features(batch, FIRST)
    others = iter([features.images, features.texts, batch["identity"], batch["text_identity"]])
    monkeypatch.setattr("tpr.distributed.gather", lambda local, total, repeats=1: next(others))
    empty = {key: value[:0] if torch.is_tensor(value) else value for key, value in batch.items()}
    output = system(empty, FIRST)
    assert all(value == 0 for value in (*output.losses.values(), *output.metrics.values()))
    sum(output.losses.values()).backward()
    assert all(not parameter.grad.any() for parameter in system.parameters())


def test_encoding_gives_one_unit_vector_per_item_whose_product_is_the_mean_of_both_cosines():
    system, batch = make_rde().eval(), make_batch()
    with torch.no_grad():
        images, texts = system.encode(batch, "image"), system.encode(batch, "text")
        both = system.embed_images(batch["images"]), system.embed_texts(batch["tokens"], None)
    for vectors in (images, texts):
        assert vectors.shape == (6, SMALL.embed_dim + 16) and vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    cosines = [
        torch.cosine_similarity(text[:, None], image[None], dim=2)
        for image, text in zip(*(system.cut(side) for side in both), strict=True)
    ]
    torch.testing.assert_close(texts @ images.T, (cosines[0] + cosines[1]) / 2)


def test_encoding_does_not_depend_on_padding_or_on_an_empty_neighbour():
    system = make_rde().double().eval()
    batch = make_batch()
    with torch.no_grad():
        whole = system.encode(batch, "text")
        cut = system.encode({**batch, "longest_caption": LONGEST}, "text")
        with_empty = system.encode_texts(["", *CAPTIONS])
    assert batch["tokens"].argmax(dim=1).max() < LONGEST < SETTING.text_length
    torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)
    assert torch.isfinite(with_empty).all()
    torch.testing.assert_close(with_empty[1:], whole, rtol=1e-12, atol=1e-12)


def test_a_length_counted_by_the_loader_changes_no_loss_with_either_norm():
    for norm in ("train", "frozen"):
        system, batch = make_rde(norm=norm).double(), make_batch()
        wanted = system(batch, FIRST).losses
        found = system({**batch, "longest_caption": LONGEST}, FIRST).losses
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_frozen_norm_computes_no_padding():
    seen = []
    for norm, mode in (("train", True), ("frozen", True), ("train", False)):
        system = make_rde(norm=norm).train(mode)
        system.base_model.ln_final.register_forward_hook(lambda *call: seen.append(call[1][0].shape[1]))
        system({**make_batch(), "longest_caption": LONGEST}, FIRST)
    assert seen == [SETTING.text_length, LONGEST, LONGEST]


@pytest.mark.parametrize("norm", ["train", "frozen"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_do_not_depend_on_the_order_of_the_batch(loss, norm):
    system, batch = make_rde(loss=loss, norm=norm).double(), make_batch()
    mark(system, [1, 0, 1, 1, 0, 1])
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = {key: value[order] if torch.is_tensor(value) else value for key, value in batch.items()}
    shuffled["owner"] = torch.arange(6)
    torch.testing.assert_close(
        system(shuffled, FIRST).losses, system(batch, FIRST).losses, rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("loss", slow_except({"tal"}, LOSSES))
def test_training_on_toy_data_lowers_the_loss(loss):
    system, batch = make_rde(loss=loss, augment_text=0), make_batch()
    optimizer = torch.optim.AdamW(system.parameters(), lr=3e-3)
    totals = []
    for _ in range(10):
        total = total_of(system, batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]


@pytest.mark.parametrize("norm", ["train", "frozen"])
def test_bfloat16_autocast_keeps_losses_in_float32_and_near(norm):
    system, batch = make_rde(loss="sdm", norm=norm), make_batch()
    exact = system(batch, FIRST).losses
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = system(batch, FIRST)
        encoded = system.eval().encode(batch, "image")
    assert encoded.dtype == torch.float32
    sum(output.losses.values()).backward()
    for name, value in output.losses.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value, exact[name], rtol=0.1, atol=0.1)


def test_one_identity_alone_has_a_finite_step():
    system, batch = make_rde(), make_batch()
    batch["identity"] = batch["text_identity"] = torch.zeros(6, dtype=torch.int64)
    total = total_of(system, batch)
    total.backward()
    assert total == 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in system.parameters())


def test_captions_are_augmented_anew_every_epoch_and_not_at_all_in_encoding():
    system, batch = make_rde(augment_text=0.5), make_batch()
    plain = make_rde(augment_text=0)

    def texts(system, epoch):
        with torch.no_grad():
            return system.features(batch, replace(FIRST, epoch=epoch)).texts

    assert torch.equal(texts(system, 1), texts(system, 1))
    assert not torch.allclose(texts(system, 1), texts(system, 2))
    assert torch.equal(texts(plain, 1), texts(plain, 2))
    assert torch.equal(system.encode(batch, "text"), plain.encode(batch, "text"))


@pytest.mark.parametrize("loss", LOSSES)
def test_only_clean_pairs_are_trained_on(loss):
    system, batch = make_rde(loss=loss), make_batch()
    features = system.features(batch, FIRST)
    each = system.find_losses(features, batch)
    everyone = system.losses(features, batch, FIRST)
    marks = [1, 0, 1, 1, 0, 1]
    mark(system, marks)
    output = system.losses(features, batch, FIRST)
    clean = torch.tensor(marks, dtype=torch.bool)
    wanted = each[clean].sum(dim=0) / (4 if loss in ("infonce", "sdm") else 1)
    torch.testing.assert_close(torch.stack(list(output.losses.values())), wanted)
    assert everyone.metrics["clean"] == 1
    assert output.metrics["clean"].item() == pytest.approx(4 / 6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_without_a_clean_pair_is_zero_and_connected(loss):
    system, batch = make_rde(loss=loss), make_batch()
    mark(system, [0] * 6)
    output = system(batch, FIRST)
    sum(output.losses.values()).backward()
    assert all(value == 0 for value in (*output.losses.values(), *output.metrics.values()))
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in system.parameters())


def test_a_noisy_pair_is_a_negative_all_the_same():
    system, batch = make_rde(), make_batch()
    mark(system, [1, 0, 1, 1, 0, 1])
    features = system.features(batch, FIRST)
    total = sum(system.losses(features, batch, FIRST).losses.values())
    gradient = torch.autograd.grad(total, features.texts)[0]
    assert gradient[1].any()


class Survey:
    """A training set of two batches that counts its passes, for `EpochContext`."""

    def __init__(self, system):
        first, second = make_batch(images=4), make_batch(images=4, seed=9)
        second["caption_index"] = second["sample_index"] = torch.arange(4, 8)
        self.batches, self.system, self.passes, self.modes = [first, second], system, 0, []

    def __call__(self, *, augment=True):
        self.passes += 1
        self.augmented = augment
        for batch in self.batches:
            self.modes.append((self.system.training, torch.is_grad_enabled()))
            yield batch

    def context(self, epoch=1):
        progress = Progress(seed=1, epoch=epoch, step=0)
        return EpochContext(progress=progress, survey=self, autocast=nullcontext)


def test_the_survey_measures_every_pair_in_evaluation_mode_and_leaves_the_mode_alone():
    system = make_rde(norm="train").train()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    survey = Survey(system)
    system.before_epoch(survey.context())
    assert survey.passes == 1 and survey.modes == [(False, False)] * 2
    assert system.training
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())
    system.eval()
    with torch.no_grad():
        progress = Progress(seed=1, epoch=-1, step=0)
        wanted = [system.find_losses(system.features(batch, progress), batch) for batch in survey.batches]
    torch.testing.assert_close(system.division.losses.read(torch.arange(8)), torch.cat(wanted))
    marks = system.division.read_marks(torch.arange(8))
    assert 0 < marks.sum() < 8


def test_badly_fitting_pairs_are_found_noisy():
    options = DivisionOptions(mixture=MixtureOptions(iterations=100, tolerance=1e-4, added_variance=1e-6))
    system = make_rde(augment_text=0, tau=0.1, division=options)
    losses = torch.tensor([[0.1, 0.2], [0.15, 0.1], [2.0, 1.9], [0.12, 0.15]])
    system.find_losses = lambda features, batch: losses + 0.01 * batch["caption_index"][:, None]
    system.before_epoch(Survey(system).context())
    assert system.division.read_marks(torch.arange(8)).tolist() == [True, True, False, True] * 2


def test_the_division_waits_for_the_warmup():
    system = make_rde(division=DivisionOptions(warmup_epochs=2))
    survey = Survey(system)
    for epoch, passes in ((1, 0), (2, 0), (3, 1), (4, 2)):
        system.before_epoch(survey.context(epoch))
        assert survey.passes == passes
        assert system.division.read_marks(torch.arange(8)).all() == (passes == 0)


def test_losses_of_the_steps_are_reused_where_asked():
    system = make_rde(division=DivisionOptions(reuse_losses=True))
    survey = Survey(system)
    system.before_epoch(survey.context(1))
    assert system.division.read_marks(torch.arange(8)).all()
    wanted = []
    for batch in survey.batches:
        with torch.no_grad():
            wanted.append(system.find_losses(system.features(batch, FIRST), batch))
        system(batch, FIRST)
    torch.testing.assert_close(system.division.losses.read(torch.arange(8)), torch.cat(wanted))
    system.before_epoch(survey.context(2))
    assert survey.passes == 0
    assert 0 < system.division.read_marks(torch.arange(8)).sum() < 8


def test_a_survey_of_some_captions_leaves_the_others_clean():
    setting = replace(SETTING, captions=20)
    system = make_rde(setting)
    system.before_epoch(Survey(system).context())
    assert system.division.read_marks(torch.arange(8, 20)).all()
    assert not system.division.read_marks(torch.arange(8)).all()


def test_the_rate_of_the_selection_does_not_follow_the_base_rate():
    for lr in (1e-5, 5e-6, 0.0):
        groups = group_parameters(make_rde(selection_lr=1e-3), OptimOptions(lr=lr))
        rates = {name: group["lr"] for group in groups for name in group["names"]}
        assert rates["image_selection.enter.weight"] == pytest.approx(1e-3 if lr else 0)
        assert rates["base_model.visual.proj"] == pytest.approx(lr)
        assert rates["base_model.ln_final.bias"] == pytest.approx(2 * lr)


def test_other_layouts_are_not_of_this_system():
    system = make_rde()
    assert Rde.official.options(system.state_dict()) == RdeOptions(selected_width=16)
    towers = {name: value for name, value in system.state_dict().items() if name.startswith("base_model")}
    assert not Rde.official.recognise(towers)
    assert not Rde.needs_identities(RdeOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0}, "tau: expected float > 0, got 0"),
        ({"temperature": -1}, "temperature: expected float > 0, got -1"),
        ({"margin": -1}, "margin: expected float >= 0, got -1"),
        ({"selection_lr": -1}, "selection_lr: expected float >= 0, got -1"),
        ({"select_ratio": 0}, r"select_ratio: expected float in \(0, 1\], got 0"),
        ({"selected_width": 1}, r"selected_width: expected int in \[2, 16384\], got 1"),
        ({"augment_text": 1.5}, r"augment_text: expected float in \[0, 1\], got 1.5"),
    ],
)
def test_options_without_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build_options(RdeOptions, options, {})
