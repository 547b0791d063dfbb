"""IRRA's heads: initial weights and the cross-modal transformer against torch's own modules."""

import pytest
import torch

from tpr.models.heads import (
    build_classifier,
    build_cross_attention,
    build_cross_transformer,
    build_word_head,
    relate_words,
)

WIDTH, DEPTH = 128, 4
RESIDUAL = WIDTH**-0.5 * (2 * DEPTH) ** -0.5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def deviation(weight):
    assert abs(weight.mean().item()) < 0.01
    return weight.std().item()


def test_the_classifier_starts_near_zero():
    classifier = build_classifier(WIDTH, 200)
    assert deviation(classifier.weight) == pytest.approx(0.001, rel=0.05)
    assert not classifier.bias.any()


def test_attention_starts_with_the_published_deviations():
    attention = build_cross_attention(WIDTH, DEPTH)
    assert attention.num_heads == 2
    assert deviation(attention.in_proj_weight) == pytest.approx(WIDTH**-0.5, rel=0.05)
    assert deviation(attention.out_proj.weight) == pytest.approx(RESIDUAL, rel=0.05)


def test_blocks_start_with_the_published_deviations():
    transformer = build_cross_transformer(WIDTH, DEPTH)
    assert len(transformer.resblocks) == DEPTH
    for block in transformer.resblocks:
        assert deviation(block.attn.in_proj_weight) == pytest.approx(WIDTH**-0.5, rel=0.05)
        assert deviation(block.attn.out_proj.weight) == pytest.approx(RESIDUAL, rel=0.05)
        assert deviation(block.mlp.c_fc.weight) == pytest.approx((2 * WIDTH) ** -0.5, rel=0.05)
        assert deviation(block.mlp.c_proj.weight) == pytest.approx(RESIDUAL, rel=0.05)


def test_the_word_head_starts_with_the_published_deviations():
    head = build_word_head(WIDTH, DEPTH, 1000)
    assert [name for name, _ in head.named_children()] == ["dense", "gelu", "ln", "fc"]
    assert deviation(head.dense.weight) == pytest.approx((2 * WIDTH) ** -0.5, rel=0.05)
    assert deviation(head.fc.weight) == pytest.approx(RESIDUAL, rel=0.05)


def test_words_look_at_the_image_without_residual_and_then_at_one_another():
    attention, transformer = build_cross_attention(WIDTH, DEPTH), build_cross_transformer(WIDTH, DEPTH)
    words, image = torch.randn(3, 7, WIDTH), torch.randn(3, 9, WIDTH)
    found = relate_words(attention, transformer.resblocks, words, image)
    wanted = transformer(attention(words, image, image, need_weights=False)[0])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
