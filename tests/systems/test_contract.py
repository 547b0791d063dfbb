"""What every system must keep, run over all combinations that the shipped configs use."""

from dataclasses import replace

import pytest
import torch

from tests.marks import slow_except
from tests.systems.small_systems import CAPTIONS, EVERY_LOSS, FIRST, SETTING, make_batch, make_irra
from tpr.systems import SYSTEMS
from tpr.systems.base import Progress
from tpr.systems.irra import IrraOptions, Losses

OPTIONS = {
    "published": IrraOptions(temperature=0.1),
    "every_loss": IrraOptions(losses=EVERY_LOSS, temperature=0.1, sdm_text="full"),
    "sdm_only": IrraOptions(losses=Losses(id=0, mlm=0), temperature=0.1),
    "pretrain": IrraOptions(
        losses=Losses(id=0, mlm=0, itc=1), itc_scale=20, sdm_text="full", groups="single"
    ),
    "mlm_only": IrraOptions(losses=Losses(sdm=0, id=0)),
    "fast": IrraOptions(temperature=0.1, keep_patches=0.5, word_positions="caption"),
}


@pytest.fixture(params=list(OPTIONS))
def options(request):
    return OPTIONS[request.param]


@pytest.mark.parametrize("captions_per_image", [1, 2])
def test_losses_are_finite_and_every_parameter_gets_a_gradient(options, captions_per_image):
    system = make_irra(options, setting=replace(SETTING, captions_per_image=captions_per_image))
    output = system(make_batch(captions_per_image), FIRST)
    wanted = {name for name in ("sdm", "id", "mlm", "itc", "cmpm") if getattr(options.losses, name) > 0}
    assert set(output.losses) == wanted == set(system.loss_weights())
    assert all(torch.isfinite(value) for value in (*output.losses.values(), *output.metrics.values()))
    sum(output.losses.values()).backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_rank_without_rows_has_zero_losses_and_zero_gradients(options, monkeypatch):
    system = make_irra(options)
    batch = make_batch()
    with torch.no_grad():
        features = system.features(batch, FIRST)
    others = iter([features.images, features.texts, batch["identity"], batch["text_identity"]])
    monkeypatch.setattr("tpr.distributed.gather", lambda local, total, repeats=1: next(others))
    empty = {key: value[:0] if torch.is_tensor(value) else value for key, value in batch.items()}
    output = system(empty, FIRST)
    assert all(value == 0 for value in (*output.losses.values(), *output.metrics.values()))
    sum(output.losses.values()).backward()
    assert all(not parameter.grad.any() for parameter in system.parameters())


def test_encoding_gives_one_unit_vector_per_item(options):
    system = make_irra(options).eval()
    batch = make_batch()
    with torch.no_grad():
        for side in ("image", "text"):
            vectors = system.encode(batch, side)
            assert vectors.shape == (6, 32) and vectors.dtype == torch.float32
            torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))


def test_saved_and_loaded_systems_are_equal(options, tmp_path):
    system, other = make_irra(options, seed=0), make_irra(options, seed=1)
    torch.save(system.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    batch = make_batch()
    for one, two in zip(
        system(batch, FIRST).losses.values(), other(batch, FIRST).losses.values(), strict=True
    ):
        assert torch.equal(one, two)


def test_losses_do_not_depend_on_the_order_of_the_batch(options):
    system = make_irra(options).double()
    batch = make_batch()
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = {key: value[order] if torch.is_tensor(value) else value for key, value in batch.items()}
    shuffled["owner"] = torch.arange(6)
    expected, found = system(batch, FIRST).losses, system(shuffled, FIRST).losses
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)


def test_masks_depend_on_seed_and_epoch_and_not_on_the_step():
    system = make_irra(OPTIONS["published"])
    batch = make_batch()

    def loss(seed, epoch, step):
        return system(batch, Progress(seed=seed, epoch=epoch, step=step)).losses["mlm"]

    assert loss(1, 1, 0) == loss(1, 1, 5)
    assert loss(1, 1, 0) != loss(1, 2, 0)
    assert loss(1, 1, 0) != loss(2, 1, 0)


@pytest.mark.parametrize("options", slow_except({"every_loss", "sdm_only"}, OPTIONS), indirect=True)
def test_training_on_toy_data_lowers_the_loss(options):
    system = make_irra(options)
    batch = make_batch()
    optimizer = torch.optim.AdamW(system.parameters(), lr=3e-3)
    totals = []
    for _ in range(10):
        total = sum(system(batch, FIRST).losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]


def test_bfloat16_autocast_keeps_losses_in_float32_and_near():
    system = make_irra(OPTIONS["every_loss"])
    batch = make_batch()
    exact = system(batch, FIRST).losses
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = system(batch, FIRST)
        encoded = system.encode(batch, "image")
    assert encoded.dtype == torch.float32
    for name, value in output.losses.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value, exact[name], rtol=0.05, atol=0.05)


def test_float64_weights_give_float64_losses():
    system = make_irra(OPTIONS["every_loss"]).double()
    output = system(make_batch(), FIRST)
    assert {value.dtype for value in output.losses.values()} == {torch.float64}


def test_pictures_and_texts_are_encoded_as_the_loader_would(tmp_path):
    from PIL import Image

    from tpr.data.tokens import tokenize
    from tpr.data.transforms import normalise_pixels

    system = make_irra(OPTIONS["sdm_only"]).eval()
    pixels = torch.randint(0, 256, (2, 64, 32, 3), dtype=torch.uint8)
    pictures = [Image.fromarray(values.numpy()) for values in pixels]
    pictures[1].save(tmp_path / "one.png")
    found = system.encode_images([pictures[0], tmp_path / "one.png"], batch=1)
    with torch.no_grad():
        wanted = system.encode({"images": normalise_pixels(pixels.permute(0, 3, 1, 2))}, "image")
        texts = system.encode({"tokens": tokenize(CAPTIONS, 24)}, "text")
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(system.encode_texts(CAPTIONS, batch=4), texts)


def test_encoding_leaves_the_mode_of_the_system_alone():
    system = make_irra(OPTIONS["sdm_only"]).train()
    system.encode_texts(["a man"])
    assert system.training


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_system_says_whether_it_needs_identities(name):
    options = SYSTEMS[name].Options()
    assert isinstance(SYSTEMS[name].needs_identities(options), bool)
