"""What every system must keep, run over the table of all systems, and what the shared parts of one do."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.systems.every_system import ROWS, Row, find_missing, hold_norms
from tests.systems.small_systems import CAPTIONS, EVERY_LOSS, FIRST, make_batch, make_irra
from tpr import distributed
from tpr.data.images.chains import CLIP_CHAIN
from tpr.data.samples.batch import Batch
from tpr.systems import System
from tpr.systems.base import Progress
from tpr.systems.irra import IrraOptions, Losses

PUBLISHED = IrraOptions(temperature=0.1)
WHOLE = IrraOptions(losses=EVERY_LOSS, temperature=0.1, sdm_text="full")
SDM_ONLY = IrraOptions(losses=Losses(id=0, mlm=0), temperature=0.1)
ORDER = torch.tensor([3, 1, 5, 0, 4, 2])


@pytest.fixture(params=list(ROWS))
def row(request: pytest.FixtureRequest) -> Row:
    return ROWS[request.param]


def total(system: System, batch: Batch) -> Tensor:
    return sum(system(batch, FIRST).losses.values(), torch.zeros(()))


def test_every_system_has_a_row() -> None:
    assert not find_missing()


def test_losses_are_finite_and_every_parameter_that_is_trained_gets_a_gradient(row: Row) -> None:
    system = row.make()
    output = system(row.make_batch(), FIRST)
    assert set(output.losses) == set(system.loss_weights)
    assert all(torch.isfinite(value) for value in (*output.losses.values(), *output.metrics.values()))
    sum(output.losses.values(), torch.zeros(())).backward()
    for name, parameter in system.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_a_rank_without_rows_has_zero_losses_and_zero_gradients(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, batch = hold_norms(row.make()), row.make_batch()
    gathered: list[Tensor] = []

    def keep(local: Tensor, total: int, repeats: int = 1) -> Tensor:
        gathered.append(local.detach().clone())
        return local

    with monkeypatch.context() as patched, torch.no_grad():
        patched.setattr(distributed, "gather", keep)
        system(batch, FIRST)
    others = iter(gathered)
    monkeypatch.setattr(distributed, "gather", lambda local, total, repeats=1: next(others))
    empty = {key: value[:0] if torch.is_tensor(value) else value for key, value in batch.items()}
    output = system(empty, FIRST)
    assert all(value == 0 for value in (*output.losses.values(), *output.metrics.values()))
    sum(output.losses.values(), torch.zeros(())).backward()
    assert not any(p.grad.any() for p in system.parameters() if p.grad is not None)


def test_encoding_gives_one_unit_vector_per_item_of_each_side(row: Row) -> None:
    system, batch = row.make().eval(), row.make_batch()
    with torch.no_grad():
        together = system.encode_queries(batch, system.sides())
        alone = {side: system.encode(batch, side) for side in system.sides()}
    assert together.keys() == alone.keys() == set(system.sides())
    for side, vectors in alone.items():
        assert len(vectors) == len(batch["tokens" if side == "text" else "images"])
        assert vectors.dtype == torch.float32 and vectors.shape[1] == alone["image"].shape[1]
        torch.testing.assert_close(together[side], vectors)
        if side != "ensemble":
            lengths = torch.full((len(vectors),), math.sqrt(row.vectors.get(side, 1)))
            torch.testing.assert_close(vectors.norm(dim=1), lengths)


def test_saved_and_loaded_systems_are_equal(row: Row, tmp_path: Path) -> None:
    system, other = row.make(seed=0), row.make(seed=1)
    torch.save(system.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    batch = row.make_batch()
    one, two = (hold_norms(each)(batch, FIRST).losses for each in (system, other))
    for name, value in one.items():
        assert torch.equal(two[name], value), name
    with torch.no_grad():
        for side in system.sides():
            assert torch.equal(system.eval().encode(batch, side), other.eval().encode(batch, side))


def test_losses_do_not_depend_on_the_order_of_the_batch(row: Row) -> None:
    batch = {
        key: value.double() if torch.is_tensor(value) and value.is_floating_point() else value
        for key, value in row.make_batch().items()
    }
    captions = row.captions_per_image
    places = (ORDER[:, None] * captions + torch.arange(captions)).flatten()
    shuffled = {
        key: value[ORDER if len(value) == len(ORDER) else places] if torch.is_tensor(value) else value
        for key, value in batch.items()
    }
    shuffled["owner"] = torch.arange(len(ORDER)).repeat_interleave(captions)
    one, two = (hold_norms(row.make().double()) for _ in range(2))
    expected, found = one(batch, FIRST).losses, two(shuffled, FIRST).losses
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-11)


def test_training_on_toy_data_lowers_the_loss(row: Row) -> None:
    system, batch = row.make(), row.make_batch()
    trained = [parameter for parameter in system.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=6e-3, fused=True)
    totals = []
    for _ in range(10):
        loss = total(system, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < 0.9 * totals[0]


def test_a_system_says_what_to_do_without_identities_or_needs_none(row: Row) -> None:
    advice = type(row.make()).needs_identities(row.options)
    assert advice is None or advice


def test_masks_depend_on_seed_and_epoch_and_not_on_the_step():
    system = make_irra(PUBLISHED)
    batch = make_batch()

    def loss(seed, epoch, step):
        return system(batch, Progress(seed=seed, epoch=epoch, step=step)).losses["mlm"]

    assert loss(1, 1, 0) == loss(1, 1, 5)
    assert loss(1, 1, 0) != loss(1, 2, 0)
    assert loss(1, 1, 0) != loss(2, 1, 0)


def test_bfloat16_autocast_keeps_losses_in_float32_and_near():
    system = make_irra(WHOLE)
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
    system = make_irra(WHOLE).double()
    output = system(make_batch(), FIRST)
    assert {value.dtype for value in output.losses.values()} == {torch.float64}


def test_images_and_texts_are_encoded_as_the_loader_would(tmp_path):
    from PIL import Image

    from tpr.data.images.transforms import normalise_pixels
    from tpr.data.text.tokens import tokenize

    system = make_irra(SDM_ONLY).eval()
    pixels = torch.randint(0, 256, (2, 64, 32, 3), dtype=torch.uint8)
    images = [Image.fromarray(values.numpy()) for values in pixels]
    images[1].save(tmp_path / "one.png")
    found = system.encode_images([images[0], tmp_path / "one.png"], batch=1)
    with torch.no_grad():
        wanted = system.encode({"images": normalise_pixels(pixels.permute(0, 3, 1, 2), CLIP_CHAIN)}, "image")
        texts = system.encode({"tokens": tokenize(CAPTIONS, 24)}, "text")
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(system.encode_texts(CAPTIONS, batch=4), texts)


def test_encoding_leaves_the_mode_of_the_system_alone():
    system = make_irra(SDM_ONLY).train()
    system.encode_texts(["a man"])
    assert system.training
