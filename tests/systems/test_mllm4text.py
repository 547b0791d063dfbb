"""MLLM4Text: options, what is scored when and through which blocks, and masks that follow the scores."""

import os
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from tests.ranks import run_ranks
from tests.systems.small_systems import CAPTIONS, FIRST, SETTING, make_batch
from tpr import distributed
from tpr.config.schema import OptimOptions
from tpr.config.typed import build_options
from tpr.data import tokenize
from tpr.data.samples.batch import Batch
from tpr.data.text.tokens import CLIP_TOKENIZER, MASK
from tpr.engine.optim import group_parameters
from tpr.errors import ConfigError
from tpr.models import ClipArchitecture, ClipOptions, ImageArchitecture, TextArchitecture
from tpr.objectives.word_fit import compare_words
from tpr.systems.base import Progress
from tpr.systems.mllm4text import Losses, MaskNoiseOptions, Mllm4Text, Mllm4TextOptions, choose_blocks

SMALL = ClipArchitecture(
    embed_dim=16,
    image=ImageArchitecture(width=32, layers=3, heads=2, patch=16),
    text=TextArchitecture(width=16, layers=4, heads=2, context=24),
)
SECOND = Progress(seed=1, epoch=2, step=1)
RATE = 0.15
PLANTED = 16
EPOCHS = 400


def make(*, seed=0, setting=SETTING, nam=None, **options):
    torch.manual_seed(seed)
    if nam is not None:
        options["nam"] = MaskNoiseOptions(**nam)
    options = Mllm4TextOptions(**{"temperature": 0.1, **options})
    return Mllm4Text(options, ClipOptions(architecture=SMALL), setting)


def count_runs(modules):
    """How often each module has run since; filled by hooks."""
    runs = [0] * len(modules)

    def count(place):
        def hook(*_):
            runs[place] += 1

        return hook

    for place, module in enumerate(modules):
        module.register_forward_hook(count(place))
    return runs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"losses": {"sdm": 0}}, "losses: all weights are 0; give sdm or itc a weight"),
        ({"losses": {"itc": -1}}, "losses.itc: expected float >= 0, got -1"),
        ({"nam": {"layer": 0}}, r"nam.layer: expected int in \[1, 1024\], got 0"),
        ({"nam": {"every": 0}}, "nam.every: expected int >= 1, got 0"),
        ({"nam": {"momentum": 1.0}}, r"nam.momentum: expected float in \[0, 1\), got 1.0"),
        ({"temperature": 0}, "temperature: expected float > 0, got 0"),
        ({"itc_scale": 0}, "itc_scale: expected float > 0, got 0"),
        ({"keep_patches": 0.0}, r"keep_patches: expected float in \(0, 1\], got 0.0"),
        ({"mask_rate": 1.0}, r"mask_rate: expected float in \(0, 1\), got 1.0"),
        (
            {"masking": "equal", "nam": {"every": 2}},
            "nam is read with masking=noise_aware only, masking is equal",
        ),
    ],
)
def test_options_without_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(Mllm4TextOptions, values, {})


def test_more_blocks_than_a_tower_has_are_refused():
    with pytest.raises(ConfigError, match="system.nam.layer=4: the image tower has 3 blocks"):
        make(nam={"layer": 4})


def test_words_are_compared_after_all_but_the_last_two_blocks_and_at_least_one():
    assert [choose_blocks(None, blocks, "text") for blocks in (12, 4, 3, 2, 1)] == [10, 2, 1, 1, 1]
    system = make(nam={"layer": 3})
    assert (system.image_blocks, system.text_blocks) == (3, 3)
    assert not Mllm4Text.needs_identities(system.options)


@pytest.mark.parametrize("masking", ["noise_aware", "equal", "none"])
@pytest.mark.parametrize("captions_per_image", [1, 2, 4])
def test_losses_are_finite_and_every_parameter_gets_a_gradient(masking, captions_per_image):
    setting = replace(SETTING, captions_per_image=captions_per_image, captions=24)
    system = make(setting=setting, masking=masking, losses=Losses(sdm=1, itc=0.5))
    batch = make_batch(captions_per_image)
    for progress in (FIRST, SECOND):
        output = system(batch, progress)
        assert set(output.losses) == {"sdm", "itc"}
        assert all(torch.isfinite(value) for value in (*output.losses.values(), *output.metrics.values()))
    sum(output.losses.values()).backward()
    for name, parameter in system.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert not name.endswith("proj") or parameter.grad.any(), name


def test_losses_are_weighted_and_read_masked_captions():
    batch = make_batch()
    plain, weighted = (make(losses=Losses(sdm=sdm, itc=itc)) for sdm, itc in ((1, 1), (2, 0.25)))
    one, two = (system(batch, FIRST).losses for system in (plain, weighted))
    torch.testing.assert_close(two["sdm"], 2 * one["sdm"])
    torch.testing.assert_close(two["itc"], 0.25 * one["itc"])
    masked, _ = plain.mask(batch, FIRST, None)
    assert (masked == MASK).any()
    hidden = Batch(**{**batch, "tokens": masked})
    silent = make(losses=Losses(sdm=1, itc=1), masking="none")
    torch.testing.assert_close(silent(hidden, FIRST).losses, one)


def test_captions_of_one_person_are_positives():
    system, batch = make(masking="none"), make_batch()
    alone = Batch(**{**batch, "identity": torch.arange(6), "text_identity": torch.arange(6)})
    assert system(batch, FIRST).losses["sdm"] != system(alone, FIRST).losses["sdm"]


def test_the_first_epoch_masks_equally_and_the_next_by_the_scores_of_the_first():
    system, batch = make(mask_rate=0.3), make_batch()
    equal = make(masking="equal", mask_rate=0.3)
    tokens = batch["tokens"]
    unknown = system.scores.read(batch["caption_index"])
    assert unknown.isnan().all()
    assert torch.equal(system.mask(batch, FIRST, unknown)[0], equal.mask(batch, FIRST, None)[0])
    system(batch, FIRST)
    known = system.scores.read(batch["caption_index"])
    probability = system.find_probability(known, tokens)
    words = (tokens > 0) & (tokens < MASK)
    assert probability[words].std() > 1e-3
    for row, own in zip(probability, words, strict=True):
        assert row[own].mean().item() == pytest.approx(0.3, abs=1e-12)
    seen = []
    system.find_probability = lambda stored, tokens: seen.append(stored) or probability
    system(batch, SECOND)
    assert torch.equal(seen[0].nan_to_num(9), known.nan_to_num(9))


@pytest.mark.parametrize("parity", [True, False])
def test_a_row_holds_the_largest_cosine_of_each_word_with_a_patch(parity):
    system, batch = make(nam={"storage": "float32"}, parity=parity), make_batch()
    system(batch, FIRST)
    towers = system.base_model
    with torch.no_grad():
        patches = towers.encode_image(batch["images"], early=1).early[:, 1:]
        words = towers.encode_text_early(batch["tokens"], 2)
    found = system.scores.read(torch.arange(8))
    for caption in range(6):
        end = int(batch["tokens"][caption].argmax())
        for place in range(end + 1):
            cosines = torch.cosine_similarity(words[caption, place], patches[caption], dim=1)
            assert found[caption, place].item() == pytest.approx(cosines.max().item(), abs=1e-5)
        assert found[caption, end + 1 :].isnan().all()
    assert found[6:].isnan().all()
    assert not system.features(batch, FIRST).scores.requires_grad


def test_words_are_compared_with_the_patches_that_were_read():
    system, batch = make(nam={"storage": "float32"}, keep_patches=0.5), make_batch()
    patches = system.choose_patches(batch, FIRST, 0.5)
    system(batch, FIRST)
    with torch.no_grad():
        early = system.base_model.encode_image(batch["images"], early=1, patches=patches).early
        wanted = system.compare(batch, early)
    found = system.scores.read(torch.arange(6))[:, : wanted.shape[1]]
    known = ~found.isnan()
    torch.testing.assert_close(found[known], wanted[known])
    assert early.shape[1] == 1 + patches.shape[1] < 1 + system.base_model.grid[0] * system.base_model.grid[1]


def test_comparing_follows_the_owner_and_takes_no_notice_of_length():
    generator = torch.Generator().manual_seed(0)
    words, patches = torch.randn(3, 4, 8, generator=generator), torch.randn(2, 5, 8, generator=generator)
    owner = torch.tensor([1, 0, 1])
    found = compare_words(words, patches, owner)
    assert found.shape == (3, 4)
    for row, image in enumerate(owner):
        wanted = torch.cosine_similarity(words[row][:, None], patches[image][None], dim=2).amax(dim=1)
        torch.testing.assert_close(found[row], wanted)
    torch.testing.assert_close(compare_words(3 * words, 0.1 * patches, owner), found)
    assert compare_words(words[:0], patches[:0], owner[:0]).shape == (0, 4)


def test_full_captions_pass_the_lower_blocks_alone_and_only_where_captions_are_scored():
    system, batch = make(nam={"every": 2}), make_batch()
    towers = system.base_model
    # A block's own forward is never called: its first norm tells.
    text = count_runs([block.ln_1 for block in towers.transformer.resblocks])
    image = count_runs([block.ln_1 for block in towers.visual.transformer.resblocks])
    projected = count_runs([towers.visual.ln_post, towers.ln_final])
    system(batch, FIRST)
    assert (text, image, projected) == ([2, 2, 1, 1], [1, 1, 1], [2, 2])
    first = system.scores.save().clone()
    system(batch, SECOND)
    assert (text, image, projected) == ([3, 3, 2, 2], [2, 2, 2], [3, 3])
    assert torch.equal(system.scores.save().nan_to_num(9), first.nan_to_num(9))
    other = Batch(**{**batch, "images": batch["images"].flip(0)})
    system(other, replace(SECOND, epoch=3))
    assert text == [5, 5, 3, 3]
    assert not torch.equal(system.scores.save().nan_to_num(9), first.nan_to_num(9))


@pytest.mark.parametrize("masking", ["equal", "none"])
def test_other_masking_keeps_no_scores_and_takes_no_further_pass(masking):
    system, batch = make(masking=masking), make_batch()
    text = count_runs([block.ln_1 for block in system.base_model.transformer.resblocks])
    output = system(batch, FIRST)
    assert text == [1, 1, 1, 1]
    assert system.tables == {}
    assert system.scores.save() is None
    assert (output.metrics["masked_share"] == 0) == (masking == "none")
    assert torch.equal(system.mask(batch, FIRST, None)[0], batch["tokens"]) == (masking == "none")


@pytest.mark.parametrize("masking", ["equal", "noise_aware"])
def test_only_the_published_rule_masks_the_first_word_of_a_caption_left_whole(masking):
    batch = make_batch()
    whole = torch.full((6, SETTING.text_length), 0.5)
    for parity in (True, False):
        system = make(masking=masking, mask_rate=1e-9, parity=parity)
        stored = whole if masking == "noise_aware" else None
        masked, labels = system.mask(batch, FIRST, stored)
        assert (labels > 0).sum(dim=1).tolist() == [int(parity)] * 6
        assert ((masked[:, 1] == MASK) == parity).all()


def test_older_scores_keep_their_share():
    batch = make_batch()
    other = Batch(**{**batch, "images": batch["images"].flip(0)})
    rows = []
    for seen in (batch, other):
        system = make(nam={"storage": "float32"})
        system(seen, FIRST)
        rows.append(system.scores.save())
    smoothed = make(nam={"storage": "float32", "momentum": 0.75})
    smoothed(batch, FIRST)
    torch.testing.assert_close(smoothed.scores.save(), rows[0], equal_nan=True)
    smoothed(other, SECOND)
    wanted = 0.75 * rows[0] + 0.25 * rows[1]
    torch.testing.assert_close(smoothed.scores.save(), wanted, equal_nan=True)
    assert not torch.allclose(rows[0].nan_to_num(9), rows[1].nan_to_num(9))


def test_scores_may_come_from_the_image_without_augmentation():
    batch = make_batch()
    plain = torch.randn(batch["images"].shape, generator=torch.Generator().manual_seed(9))
    wanted = make(nam={"storage": "float32"})
    wanted(Batch(**{**batch, "images": plain}), FIRST)
    system = make(nam={"storage": "float32", "plain_view": True})
    assert system.views().plain
    assert not wanted.views().plain
    image = count_runs([system.base_model.visual.conv1])
    loss = system(Batch(**{**batch, "plain_images": plain}), FIRST).losses["sdm"]
    assert image == [2]
    torch.testing.assert_close(system.scores.save(), wanted.scores.save(), equal_nan=True)
    torch.testing.assert_close(loss, make()(batch, FIRST).losses["sdm"])


def test_pieces_of_a_word_may_share_their_score():
    batch = make_batch()
    batch["tokens"] = tokenize(["a turtleneck and a houndstooth coat"] * 6, SETTING.text_length)
    plain, shared = (make(nam={"storage": "float32", "whole_words": whole}) for whole in (False, True))
    for system in (plain, shared):
        system(batch, FIRST)
    one, two = plain.scores.save()[0], shared.scores.save()[0]
    tokens = batch["tokens"][0]
    assert CLIP_TOKENIZER.find_word_ends(tokens[:6]).tolist() == [False, True, False, False, True, True]
    torch.testing.assert_close(two[2:5], one[2:5].mean().expand(3))
    torch.testing.assert_close(two[[0, 1, 5]], one[[0, 1, 5]])
    assert one[2:5].std() > 1e-4


@pytest.mark.parametrize(
    ("storage", "kind", "step"),
    [("float32", torch.float32, 0), ("float16", torch.float16, 5e-4), ("uint8", torch.uint8, 0.5 / 127)],
)
@pytest.mark.parametrize("map_above", [0, 1 << 30])
def test_scores_are_kept_as_the_options_say(storage, kind, step, map_above):
    batch, exact = make_batch(), make(nam={"storage": "float32"})
    system = make(nam={"storage": storage, "map_above": map_above})
    assert system.scores.is_mapped == (map_above == 0)
    for each in (exact, system):
        each(batch, FIRST)
    assert system.scores.save().dtype == kind
    found, wanted = (each.scores.read(torch.arange(8)) for each in (system, exact))
    torch.testing.assert_close(found, wanted, rtol=0, atol=step + 1e-6, equal_nan=True)
    assert torch.isfinite(system(batch, SECOND).losses["sdm"])


def test_several_captions_of_an_image_share_one_forward_and_have_rows_of_their_own():
    setting = replace(SETTING, captions_per_image=2, captions=20)
    system, batch = make(setting=setting, nam={"storage": "float32"}), make_batch(captions_per_image=2)
    batch["caption_index"] = torch.arange(12) + 5
    image = count_runs([system.base_model.visual.conv1])
    system(batch, FIRST)
    assert image == [1]
    found = system.scores.read(torch.arange(20))
    assert found[:5].isnan().all() and found[17:].isnan().all()
    for caption in range(12):
        single = make(nam={"storage": "float32"}, setting=replace(SETTING, captions=1))
        rows, owner = torch.tensor([caption]), batch["owner"][caption : caption + 1]
        part = Batch(
            images=batch["images"][owner],
            tokens=batch["tokens"][rows],
            identity=batch["identity"][owner],
            text_identity=batch["text_identity"][rows],
            owner=torch.zeros(1, dtype=torch.int64),
            caption_index=torch.zeros(1, dtype=torch.int64),
            global_size=1,
        )
        single(part, FIRST)
        torch.testing.assert_close(
            single.scores.read(torch.zeros(1, dtype=torch.int64))[0], found[caption + 5], equal_nan=True
        )


def test_autocast_runs_the_towers_in_bfloat16_and_compares_in_float32():
    batch, exact, system = make_batch(), make(nam={"storage": "float32"}), make(nam={"storage": "float32"})
    wanted = exact(batch, FIRST).losses["sdm"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        early = system.base_model.encode_text_early(batch["tokens"], 2)
        assert early.dtype == torch.bfloat16
        assert compare_words(early, early, torch.arange(6)).dtype == torch.float32
        loss = system(batch, FIRST).losses["sdm"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted, rtol=0.05, atol=0.05)
    torch.testing.assert_close(system.scores.save(), exact.scores.save(), rtol=0, atol=0.03, equal_nan=True)
    double = make().double()
    assert double(Batch(**{**batch, "images": batch["images"].double()}), FIRST).losses["sdm"].dtype == (
        torch.float64
    )


def test_parameter_groups():
    optim = OptimOptions(lr=1e-3, weight_decay=0.1)
    assert len(group_parameters(make(), optim)) == 1
    groups = group_parameters(make(groups="irra"), optim)
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {(1e-3, 0.1), (2e-3, 0.0)}
    assert all(
        ("bias" in name) == (group["weight_decay"] == 0) for group in groups for name in group["names"]
    )


# Planted scores: in each caption one word fits far worse than the rest.


def plant(system):
    """Captions, planted rows and the column of the planted noise in each."""
    tokens = tokenize([CAPTIONS[number % len(CAPTIONS)] for number in range(PLANTED)], SETTING.text_length)
    ends = tokens.argmax(dim=1)
    noisy = 1 + torch.arange(PLANTED) % (ends - 1)
    rows = torch.full((PLANTED, SETTING.text_length), 0.5)
    rows[torch.arange(PLANTED), noisy] = 0.25
    return tokens, rows, noisy


def count_masks(system, tokens, epochs):
    """(captions, L) how often each word is masked in these epochs, each of another order over all ranks."""
    counts = torch.zeros(tokens.shape, dtype=torch.int64)
    for epoch in epochs:
        order = torch.randperm(PLANTED, generator=torch.Generator().manual_seed(epoch))
        own = order[distributed.local_slice(PLANTED)]
        batch = Batch(tokens=tokens[own], caption_index=own)
        stored = system.scores.read(own)
        _, labels = system.mask(batch, Progress(seed=3, epoch=epoch, step=0), stored)
        counts.index_add_(0, own, (labels > 0).long())
    return distributed.sum_over_ranks(counts)


def make_planted():
    setting = replace(SETTING, captions=PLANTED)
    system = make(setting=setting, nam={"storage": "float32"})
    tokens, rows, noisy = plant(system)
    own = torch.arange(PLANTED)[distributed.local_slice(PLANTED)]
    system.scores.write(own, rows[own], samples=PLANTED)
    return system, tokens, noisy


def check_rates(counts, tokens, noisy, epochs):
    """The planted word is masked as often as the formula says, the others share the rest of the rate."""
    for caption in range(PLANTED):
        words = int(tokens[caption].argmax()) - 1
        # Noise 0.75 among 0.5: its mean is 0.5 + 0.25 / words, and nothing is clipped.
        assert words >= 2
        expected = torch.full((words,), RATE - 0.25 / words)
        expected[noisy[caption] - 1] += 0.25
        assert expected.mean().item() == pytest.approx(RATE, abs=1e-6)
        found = counts[caption, 1 : words + 1]
        deviation = (epochs * expected * (1 - expected)).sqrt()
        assert ((found - epochs * expected).abs() <= 4.5 * deviation + 1e-3).all(), caption
        assert found.argmax() == noisy[caption] - 1
    assert not counts[tokens == 0].any() and not counts[:, 0].any()


def mask_on_rank(rank, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    system, tokens, _ = make_planted()
    torch.save(count_masks(system, tokens, range(2, EPOCHS + 2)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_masks_fall_on_planted_noise_as_the_formula_says():
    system, tokens, noisy = make_planted()
    check_rates(count_masks(system, tokens, range(2, EPOCHS + 2)), tokens, noisy, EPOCHS)


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_mask_what_one_does(tmp_path):
    run_ranks(mask_on_rank, (tmp_path,))
    system, tokens, noisy = make_planted()
    alone = count_masks(system, tokens, range(2, EPOCHS + 2))
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(together, alone)
    check_rates(alone, tokens, noisy, EPOCHS)


def test_masks_go_on_as_before_after_a_resume(tmp_path):
    system, tokens, noisy = make_planted()
    before = count_masks(system, tokens, range(2, 102))
    torch.save({name: table.save() for name, table in system.tables.items()}, tmp_path / "tables.pt")
    resumed = make(setting=replace(SETTING, captions=PLANTED), nam={"storage": "float32"})
    stored = torch.load(tmp_path / "tables.pt", weights_only=True)
    for name, table in resumed.tables.items():
        table.load(stored[name], torch.device("cpu"))
    after = count_masks(resumed, tokens, range(102, EPOCHS + 2))
    assert torch.equal(after, count_masks(system, tokens, range(102, EPOCHS + 2)))
    check_rates(before + after, tokens, noisy, EPOCHS)
