"""Sizes of a CLIP: by name, inline, from shapes."""

import pytest
import torch

from tests.marks import slow_except
from tests.systems.small_systems import SMALL
from tpr.config.typed import build_options
from tpr.errors import CheckpointError, ConfigError
from tpr.models import ClipArchitecture, ClipOptions, ClipTowers, ImageArchitecture, TextArchitecture
from tpr.models.architecture import count_heads, find_architecture, list_architectures, read_architecture


def test_the_defaults_are_open_clips_vit_b_16_with_quickgelu():
    assert find_architecture("ViT-B-16-quickgelu") == ClipArchitecture()


def test_larger_towers_have_their_own_heads_and_widths():
    sizes = find_architecture("ViT-g-14")
    assert (sizes.image.width, sizes.image.heads, sizes.image.patch) == (1408, 16, 14)
    assert sizes.image.mlp_ratio == pytest.approx(4.3637)
    assert not sizes.quick_gelu


QUICK = {"ViT-B-16-quickgelu", "ViT-L-14"}


@pytest.mark.parametrize("name", slow_except(QUICK, list_architectures()))
def test_every_listed_architecture_is_read_back_from_its_shapes(name):
    sizes = find_architecture(name)
    with torch.device("meta"):
        towers = ClipTowers(ClipOptions(architecture=name), image_size=(224, 224), text_length=77)
    assert read_architecture(towers.state_dict(), quick_gelu=sizes.quick_gelu) == sizes


def test_a_small_clip_is_read_back_with_heads_of_64():
    sizes = ClipArchitecture(
        embed_dim=64,
        image=ImageArchitecture(width=128, layers=2, heads=2),
        text=TextArchitecture(width=64, layers=3, heads=1),
    )
    towers = ClipTowers(ClipOptions(architecture=sizes), image_size=(64, 32), text_length=77)
    assert read_architecture(towers.state_dict(), quick_gelu=True) == sizes


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(
        ConfigError, match="model.architecture: 'ViT-B-17' is not known to open_clip; known: .*ViT-B-16"
    ):
        find_architecture("ViT-B-17")


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "RN50", "ViT-H-14-CLIPA", "coca_ViT-B-32"])
def test_towers_of_another_kind_are_refused(name):
    with pytest.raises(ConfigError, match="has towers other than CLIP's plain ones"):
        find_architecture(name)


def test_a_state_without_a_text_tower_is_no_clip():
    towers = ClipTowers(ClipOptions(architecture=SMALL), image_size=(64, 32), text_length=24)
    state = {name: value for name, value in towers.state_dict().items() if name.startswith("visual.")}
    with pytest.raises(
        CheckpointError, match="no CLIP with a vision transformer: 'token_embedding.weight' is missing"
    ):
        read_architecture(state, quick_gelu=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": {"width": 100, "heads": 3}}, "image: width=100 is no multiple of heads=3"),
        ({"image": {"heads": 0}}, r"image.heads: expected int in \[1, 1024\], got 0"),
        ({"image": {"patch": 513}}, r"image.patch: expected int in \[1, 512\], got 513"),
        ({"image": {"mlp_ratio": 0}}, r"image.mlp_ratio: expected float in \(0, 64\], got 0"),
        ({"text": {"layers": 0}}, r"text.layers: expected int in \[1, 1024\], got 0"),
        ({"text": {"vocabulary": 10**7}}, r"text.vocabulary: expected int in \[1, 1000000\], got 10000000"),
        ({"embed_dim": 20_000}, r"embed_dim: expected int in \[1, 16384\], got 20000"),
    ],
)
def test_impossible_sizes_are_refused(values, message):
    with pytest.raises(ConfigError, match=f"architecture.{message}$"):
        build_options(ClipOptions, {"architecture": values}, {})


def test_patches_are_at_least_a_pixel_apart():
    with pytest.raises(ConfigError, match=r"^stride: expected int in \[1, 512\], got 0$"):
        build_options(ClipOptions, {"stride": 0}, {})


@pytest.mark.parametrize(("width", "wanted"), [(512, 8), (64, 1), (32, 1), (192, 3), (200, 2), (130, 2)])
def test_heads_have_about_64_columns_and_divide_the_width(width, wanted):
    assert count_heads(width) == wanted
