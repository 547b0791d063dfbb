"""IRRA: options, which parts are built, what each loss reads, exactness of the shortcuts."""

from dataclasses import replace

import pytest
import torch

from tests.systems.small_systems import EVERY_LOSS, FIRST, SETTING, make_batch, make_irra
from tpr.config.typed import build_options
from tpr.errors import ConfigError
from tpr.objectives import LabelledPositions, masked_word_loss
from tpr.systems.irra import Irra, IrraOptions, Losses


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"losses": {"sdm": 0, "id": 0, "mlm": 0}},
            "losses: all weights are 0; give one of sdm, id, mlm, itc, cmpm",
        ),
        ({"losses": {"id": -1}}, "losses.id: expected float >= 0, got -1"),
        ({"temperature": 0}, "temperature: expected float > 0, got 0"),
        ({"itc_scale": 0}, "itc_scale: expected float > 0, got 0"),
        ({"mask_rate": 1.0}, r"mask_rate: expected float in \(0, 1\), got 1.0"),
        ({"depth": 0}, r"depth: expected int in \[1, 64\], got 0"),
        ({"keep_patches": 0.0}, r"keep_patches: expected float in \(0, 1\], got 0.0"),
    ],
)
def test_options_without_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(IrraOptions, values, {})


def test_parts_of_losses_without_weight_are_not_built():
    system = make_irra(IrraOptions(losses=Losses(id=0, mlm=0)))
    assert {name.split(".")[0] for name in system.state_dict()} == {"base_model"}


def test_only_classification_needs_identities():
    assert Irra.needs_identities(IrraOptions())
    assert not Irra.needs_identities(IrraOptions(losses=Losses(id=0)))


def test_losses_are_weighted():
    options = IrraOptions(losses=EVERY_LOSS, temperature=0.1, sdm_text="full")
    weights = Losses(sdm=2, id=0.5, mlm=3, itc=0.25, cmpm=7)
    batch = make_batch()
    plain, weighted = (
        make_irra(chosen)(batch, FIRST).losses for chosen in (options, replace(options, losses=weights))
    )
    for name, value in plain.items():
        torch.testing.assert_close(weighted[name], getattr(weights, name) * value)


def test_itc_has_a_scale_of_its_own():
    batch, losses = make_batch(), Losses(sdm=0, id=0, mlm=0, itc=1)
    from_temperature = make_irra(IrraOptions(losses=losses, temperature=0.05, sdm_text="full"))
    given = make_irra(IrraOptions(losses=losses, itc_scale=20, sdm_text="full"))
    torch.testing.assert_close(from_temperature(batch, FIRST).losses, given(batch, FIRST).losses)


@pytest.mark.parametrize("mlm", [0.0, 1.0])
def test_global_losses_read_masked_or_full_captions_as_the_option_says(mlm):
    batch = make_batch()
    losses = Losses(id=0, mlm=mlm)
    full = make_irra(IrraOptions(losses=losses, sdm_text="full"))
    masked = make_irra(IrraOptions(losses=losses, sdm_text="masked"))
    masked.load_state_dict(full.state_dict())
    tokens, _ = masked.mask(batch, FIRST)
    assert (tokens != batch["tokens"]).any()
    with torch.no_grad():
        plain, hidden = (system.features(batch, FIRST).texts for system in (full, masked))
        torch.testing.assert_close(plain, full.base_model.encode_text(batch["tokens"]).pooled)
        torch.testing.assert_close(hidden, full.base_model.encode_text(tokens).pooled)
    assert not torch.allclose(plain, hidden)


def test_cutting_padding_keeps_features_and_changes_guessed_words():
    system, batch = make_irra(IrraOptions(losses=EVERY_LOSS)).double(), make_batch()
    longest = int((batch["tokens"] != 0).sum(dim=1).max())
    assert longest < batch["tokens"].shape[1]
    with torch.no_grad():
        images = system.base_model.encode_image(batch["images"], every_token=True).tokens
        full, cut = (
            system.base_model.encode_text(batch["tokens"], every_token=True, length=length)
            for length in (24, longest)
        )
        torch.testing.assert_close(cut.pooled, full.pooled, rtol=1e-12, atol=1e-12)
        related, shorter = system.relate(images, full.tokens), system.relate(images, cut.tokens)
    assert (related[:, :longest] - shorter).abs().max() > 1e-3


def test_a_length_counted_by_the_loader_changes_no_loss():
    system, batch = make_irra(IrraOptions(losses=EVERY_LOSS, sdm_text="full")).double(), make_batch()
    longest = int((batch["tokens"] != 0).sum(dim=1).max())
    wanted = system(batch, FIRST).losses
    found = system({**batch, "longest_caption": longest}, FIRST).losses
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_words_at_labelled_positions_only_have_the_loss_and_gradients_of_all_positions():
    system, batch = make_irra(IrraOptions()), make_batch()

    def run(positions_of):
        features = system.features(batch, FIRST)
        positions = positions_of(features.labels)
        related = system.relate(features.image_tokens, features.words).flatten(0, 1)
        loss = masked_word_loss(system.mlm_head(system.ln_post(related[positions.index])), positions)
        wanted = [system.mlm_head.fc.weight, system.cross_attn.in_proj_weight, system.base_model.visual.proj]
        return loss.detach(), torch.autograd.grad(loss, wanted)

    few = run(LabelledPositions.find)
    every = run(lambda labels: LabelledPositions.pad(labels, labels.numel()))
    torch.testing.assert_close(few, every, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(few[0], system(batch, FIRST).losses["mlm"].detach())


def test_two_captions_of_one_image_meet_one_image_forward():
    setting = replace(SETTING, captions_per_image=2)
    system = make_irra(IrraOptions(losses=EVERY_LOSS, sdm_text="full"), setting=setting)
    seen = []
    system.base_model.visual.conv1.register_forward_hook(lambda *call: seen.append(len(call[1][0])))
    system(make_batch(captions_per_image=2), FIRST)
    assert seen == [6]


def test_parts_and_blocks_of_a_checkpoint_tell_its_options():
    system = make_irra(IrraOptions(losses=EVERY_LOSS, depth=3))
    assert Irra.official.options(system.state_dict()) == IrraOptions(depth=3)
    towers = {name: value for name, value in system.state_dict().items() if name.startswith("base_model")}
    assert Irra.official.options(towers).losses == Losses(id=0, mlm=0)


def test_padding_takes_no_part_where_words_keep_to_their_caption():
    options = IrraOptions(losses=Losses(sdm=0, id=0), word_positions="caption")
    system, batch = make_irra(options).double(), make_batch()
    whole = system(batch, FIRST).losses["mlm"]
    alone = system({**batch, "longest_caption": int(batch["tokens"].argmax(dim=1).max()) + 1}, FIRST)
    torch.testing.assert_close(alone.losses["mlm"], whole, rtol=1e-12, atol=1e-12)
    published = make_irra(replace(options, word_positions="all")).double()
    assert abs(published(batch, FIRST).losses["mlm"] - whole) > 1e-6


def test_a_step_that_reads_half_of_the_patches_reads_those_alone():
    system, batch = make_irra(IrraOptions(losses=EVERY_LOSS, keep_patches=0.5)), make_batch()
    rows, columns = system.base_model.grid
    patches = system.choose_patches(batch, FIRST, 0.5)
    assert patches.shape == (6, rows * columns // 2)
    features = system.features(batch, FIRST)
    assert features.image_tokens.shape[1] == 1 + rows * columns // 2
    # What lies under the other patches does not matter, what lies under these does.
    size = system.base_model.sizes.image.patch
    kept = torch.zeros(6, rows * columns, dtype=torch.bool).scatter_(1, patches, True)
    pixels = kept.view(6, 1, rows, columns).repeat_interleave(size, 2).repeat_interleave(size, 3)
    for shown, same in ((pixels, True), (~pixels, False)):
        other = {**batch, "images": torch.where(shown, batch["images"], torch.zeros(()))}
        assert torch.allclose(system.features(other, FIRST).images, features.images) is same


def test_evaluation_reads_every_patch():
    half, whole = make_irra(IrraOptions(keep_patches=0.5)), make_irra(IrraOptions())
    batch = make_batch()
    with torch.no_grad():
        assert torch.equal(half.encode(batch, "image"), whole.encode(batch, "image"))
