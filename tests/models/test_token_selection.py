"""Which tokens are selected, and how they become one vector: few words, no words, padding, few rows."""

import pytest
import torch
from torch import nn

from tpr.data import tokenize
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.models.token_selection import TokenSelection, select_patches, select_words

LENGTH = 24


def make_layer(is_frozen=False, width=6, output=8):
    torch.manual_seed(0)
    layer = TokenSelection(width, output, is_frozen=is_frozen)
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    return layer


def draw(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def pooled(attention, tokens, count):
    words = select_words(attention, tokens, count, tokenizer=CLIP_TOKENIZER)
    return [row[kept].tolist() for row, kept in zip(words.positions, words.is_pooled, strict=True)]


def test_the_class_token_is_no_patch():
    attention = torch.tensor([[0.9, 0.01, 0.05, 0.02, 0.03], [0.0, 0.1, 0.2, 0.3, 0.4]])
    assert select_patches(attention, 2).tolist() == [[2, 4], [4, 3]]


def test_the_words_with_most_attention_are_pooled():
    tokens = tokenize(["a man in a red shirt", "shoes"], LENGTH)
    attention = torch.zeros(2, LENGTH)
    attention[0, :8] = torch.tensor([0.5, 0.02, 0.04, 0.01, 0.03, 0.05, 0.06, 0.29])
    attention[1, :3] = torch.tensor([0.5, 0.1, 0.4])
    assert pooled(attention, tokens, 3) == [[6, 5, 2], [1]]
    assert pooled(attention, tokens, 10) == [[6, 5, 2, 4, 1, 3], [1]]


def test_padding_follows_the_words_in_order():
    tokens = tokenize(["shoes"], LENGTH)
    attention = torch.zeros(1, LENGTH)
    assert select_words(attention, tokens, 4, tokenizer=CLIP_TOKENIZER).positions.tolist() == [[1, 3, 4, 5]]


def test_a_word_without_attention_comes_before_padding():
    tokens = tokenize(["red shoes"], LENGTH)
    assert set(pooled(torch.zeros(1, LENGTH), tokens, 4)[0]) == {1, 2}


def test_a_caption_without_words_pools_its_end_token():
    tokens = tokenize(["", "a man"], LENGTH)
    assert pooled(draw(2, LENGTH), tokens, 5)[0] == [1]


@pytest.mark.parametrize("caption", ["", "shoes", "a man in a red shirt and blue jeans"])
def test_what_is_pooled_does_not_depend_on_padding(caption):
    tokens = tokenize([caption, "red"], LENGTH)
    attention = draw(2, LENGTH) * (tokens > 0)
    longest = int((tokens != 0).sum(dim=1).max())
    layer = make_layer().eval()
    states = draw(2, LENGTH, 6, seed=1)
    words = select_words(attention, tokens, 7, tokenizer=CLIP_TOKENIZER)
    whole = layer(states, words.positions, words.is_pooled)
    assert torch.isfinite(whole).all()
    for length in range(longest, LENGTH):
        assert pooled(attention[:, :length], tokens[:, :length], 7) == pooled(attention, tokens, 7)
        words = select_words(attention[:, :length], tokens[:, :length], 7, tokenizer=CLIP_TOKENIZER)
        cut = layer(states[:, :length], words.positions, words.is_pooled)
        torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-6)


def test_the_largest_embedding_of_each_column_remains():
    layer = make_layer().double().eval()
    tokens, positions = draw(2, 5, 6).double(), torch.tensor([[1, 3], [4, 2]])
    rows = tokens / tokens.norm(dim=2, keepdim=True)
    norm, hidden = layer.norm, layer.enter(rows)
    hidden = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    every = layer.leave(hidden.relu()) + layer.shortcut(rows)
    wanted = torch.stack([every[0, [1, 3]], every[1, [4, 2]]]).max(dim=1).values
    torch.testing.assert_close(layer(tokens, positions), wanted, rtol=1e-6, atol=1e-6)


def test_a_norm_in_training_takes_the_statistics_of_all_selected_rows():
    layer, tokens = make_layer(), draw(4, 5, 6)
    positions = select_patches(draw(4, 5, seed=1), 3)
    before = layer.norm.running_mean.clone()
    training = layer(tokens, positions)
    assert not torch.equal(layer.norm.running_mean, before)
    assert layer.norm.num_batches_tracked == 1
    assert not torch.allclose(training, layer.eval()(tokens, positions))


def test_a_frozen_norm_is_the_same_in_training():
    layer, tokens = make_layer(is_frozen=True), draw(4, 5, 6)
    positions = select_patches(draw(4, 5, seed=1), 3)
    before = layer.norm.running_mean.clone()
    training = layer.train()(tokens, positions)
    assert torch.equal(layer.norm.running_mean, before)
    assert torch.equal(training, layer.eval()(tokens, positions))
    training.sum().backward()
    assert layer.norm.weight.grad.any() and layer.norm.bias.grad.any()


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_for_statistics_take_the_running_ones(rows):
    layer = make_layer().train()
    tokens = draw(rows, 4, 6)
    found = layer(tokens, torch.full((rows, 1), 2))
    assert found.shape == (rows, 8)
    assert layer.norm.num_batches_tracked == 0
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_the_synchronised_norm_is_left_to_meet_the_other_ranks(monkeypatch):
    layer = nn.SyncBatchNorm.convert_sync_batchnorm(make_layer()).train()
    met = []
    monkeypatch.setattr(nn.SyncBatchNorm, "forward", lambda norm, rows: met.append(len(rows)) or rows)
    layer(draw(0, 4, 6), torch.zeros(0, 2, dtype=torch.int64))
    assert met == [0]


def test_a_zero_token_has_a_finite_gradient():
    tokens = torch.zeros(1, 3, 6, requires_grad=True)
    make_layer().eval()(tokens, torch.tensor([[1, 2]])).sum().backward()
    assert torch.isfinite(tokens.grad).all()
