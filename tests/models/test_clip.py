"""The towers: equal to open_clip's own, any size and stride, tokens of any block, exact trimming."""

import math

import open_clip.model
import pytest
import torch

from tests.systems.small_systems import CAPTIONS, SMALL
from tpr.data.text.tokens import CLIP_TOKENIZER, tokenize
from tpr.errors import ConfigError
from tpr.models import ClipArchitecture, ClipOptions, ClipTowers, ImageArchitecture, TextArchitecture
from tpr.models.text_tower import find_text_length, round_length

FULL_TEXT = ClipArchitecture(
    embed_dim=32,
    image=ImageArchitecture(width=64, layers=3, heads=1),
    text=TextArchitecture(width=32, layers=3, heads=2),
)


def make_towers(architecture=FULL_TEXT, size=(64, 32), length=77, seed=0, **options):
    torch.manual_seed(seed)
    return ClipTowers(
        ClipOptions(architecture=architecture, **options), image_size=size, text_length=length
    ).eval()


def make_images(size=(64, 32), batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize("size", [(64, 32), (70, 40)])
def test_features_equal_open_clips_own(quick_gelu, size):
    image = {"layers": 3, "width": 64, "head_width": 64, "patch_size": 16, "image_size": size}
    text = {"layers": 3, "width": 32, "heads": 2}
    torch.manual_seed(0)
    reference = open_clip.model.CLIP(32, image, text, quick_gelu=quick_gelu).eval()
    sizes = ClipArchitecture(embed_dim=32, image=FULL_TEXT.image, text=FULL_TEXT.text, quick_gelu=quick_gelu)
    towers = make_towers(sizes, size)
    state = reference.state_dict()
    del state["logit_scale"]
    towers.load_state_dict(state)
    tokens, images = tokenize(CAPTIONS), make_images(size)
    with torch.no_grad():
        torch.testing.assert_close(
            towers.encode_image(images).pooled, reference.encode_image(images), rtol=1e-5, atol=1e-6
        )
        torch.testing.assert_close(
            towers.encode_text(tokens).pooled, reference.encode_text(tokens), rtol=1e-5, atol=1e-6
        )


def test_the_pooled_feature_is_the_class_token_and_the_end_token():
    towers, tokens = make_towers(), tokenize(CAPTIONS)
    with torch.no_grad():
        images, texts = (
            towers.encode_image(make_images(), every_token=True),
            towers.encode_text(tokens, every_token=True),
        )
        alone = towers.encode_image(make_images()).pooled, towers.encode_text(tokens).pooled
    assert images.tokens.shape == (2, 9, 32) and texts.tokens.shape == (6, 77, 32)
    torch.testing.assert_close(images.pooled, images.tokens[:, 0])
    torch.testing.assert_close(alone, (images.pooled, texts.pooled), rtol=1e-5, atol=1e-6)
    for row, end in enumerate((tokens == 49407).nonzero()[:, 1]):
        torch.testing.assert_close(texts.pooled[row], texts.tokens[row, end])


def test_cutting_behind_the_longest_caption_changes_no_feature():
    towers, tokens = make_towers().double(), tokenize(CAPTIONS)
    longest = int((tokens != 0).sum(dim=1).max())
    with torch.no_grad():
        full = towers.encode_text(tokens, length=77).pooled
        for length in (longest, longest + 1, 40):
            cut = towers.encode_text(tokens, length=length).pooled
            torch.testing.assert_close(cut, full, rtol=1e-12, atol=1e-12)
    other = tokens.clone()
    other[other == 0] = 17
    with torch.no_grad():
        torch.testing.assert_close(towers.encode_text(other, length=77).pooled, full, rtol=1e-12, atol=1e-12)


def test_the_text_length_covers_the_longest_caption_in_steps_of_eight():
    tokens = tokenize(["a man", "a woman in a long red coat"])
    assert find_text_length(tokens, CLIP_TOKENIZER.find_ends(tokens)) == 16
    long = tokenize(["word " * 200])
    assert find_text_length(long, CLIP_TOKENIZER.find_ends(long)) == 77
    assert [round_length(n, 77) for n in (1, 8, 9, 73, 77)] == [8, 8, 16, 77, 77]


def test_a_device_is_never_asked_for_the_text_length():
    tokens = torch.zeros(3, 77, dtype=torch.int64, device="meta")
    assert find_text_length(tokens, CLIP_TOKENIZER.find_ends(tokens)) == 77


def test_early_tokens_are_those_of_a_tower_cut_there():
    towers = make_towers()
    cut = make_towers(
        ClipArchitecture(
            embed_dim=32,
            image=ImageArchitecture(width=64, layers=1, heads=1),
            text=TextArchitecture(width=32, layers=1, heads=2),
        )
    )
    cut.load_state_dict(
        {name: value for name, value in towers.state_dict().items() if name in cut.state_dict()}
    )
    tokens = tokenize(CAPTIONS)
    with torch.no_grad():
        torch.testing.assert_close(
            towers.encode_image(make_images(), early=1).early,
            cut.encode_image(make_images(), every_token=True).tokens,
        )
        torch.testing.assert_close(
            towers.encode_text(tokens, early=1).early, cut.encode_text(tokens, every_token=True).tokens
        )


@pytest.mark.parametrize(("stride", "grid"), [(16, (4, 2)), (12, (5, 2)), (8, (7, 3))])
def test_a_smaller_stride_makes_patches_overlap(stride, grid):
    towers = make_towers(stride=stride)
    assert towers.grid == grid
    assert towers.visual.positional_embedding.shape == (grid[0] * grid[1] + 1, 64)
    assert towers.encode_image(make_images(), every_token=True).tokens.shape == (2, grid[0] * grid[1] + 1, 32)


def test_the_published_stride_of_12_gives_31_by_10_patches():
    with torch.device("meta"):
        towers = make_towers("ViT-B-16-quickgelu", (384, 128), stride=12)
    assert towers.grid == (31, 10)


def test_longer_texts_than_the_weights_were_made_for_get_their_positions():
    towers = make_towers(length=100)
    assert towers.positional_embedding.shape == (100, 32)
    assert towers.encode_text(tokenize(["red " * 90], 100)).pooled.shape == (1, 32)


def test_there_is_no_logit_scale_and_every_parameter_is_used():
    towers = make_towers()
    images = towers.encode_image(make_images()).pooled
    texts = towers.encode_text(tokenize(CAPTIONS)).pooled
    (images.square().sum() + texts.square().sum()).backward()
    assert [name for name, parameter in towers.named_parameters() if parameter.grad is None] == []
    assert "logit_scale" not in towers.state_dict()


def test_fresh_weights_follow_torchs_seed():
    one, same, other = (
        make_towers(seed=1, stride=8),
        make_towers(seed=1, stride=8),
        make_towers(seed=2, stride=8),
    )
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(one.visual.positional_embedding, other.visual.positional_embedding)


def test_fresh_weights_of_the_text_tower_have_clips_scale():
    towers = make_towers()
    weight = towers.transformer.resblocks[0].attn.in_proj_weight
    assert weight.std().item() == pytest.approx(32**-0.5, rel=0.05)
    assert towers.token_embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert towers.visual.proj.std().item() == pytest.approx(1 / math.sqrt(64), rel=0.1)


def test_bfloat16_autocast_is_near_float32():
    towers, tokens = make_towers(), tokenize(CAPTIONS)
    with torch.no_grad():
        exact = towers.encode_image(make_images()).pooled, towers.encode_text(tokens).pooled
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = towers.encode_image(make_images()).pooled, towers.encode_text(tokens).pooled
    for one, two in zip(exact, near, strict=True):
        assert torch.cosine_similarity(one, two.float()).min() > 0.999


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(ConfigError, match=r"data.image_size=\[64, 8\] is smaller than a patch of 16 pixels"):
        make_towers(SMALL, (64, 8))
