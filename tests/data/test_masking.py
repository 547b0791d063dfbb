"""Masked words: the published shares and rules, and independence of batch splits."""

import math

import pytest
import torch
from torch import Tensor

from tpr.data import tokenize
from tpr.data.text.masking import MaskDraws, apply_masks, draw_masks, mask_words
from tpr.data.text.tokens import CLIP_TOKENIZER, END, MASK, START, WORD_LIMIT

LENGTH = 77


def long_captions(count: int, words: int = 75) -> Tensor:
    tokens = torch.zeros(count, LENGTH, dtype=torch.int64)
    tokens[:, 0] = START
    tokens[:, 1 : words + 1] = torch.arange(1, words + 1) * 600
    tokens[:, words + 1] = END
    return tokens


def mask(tokens: Tensor, probability: float | Tensor = 0.15, **options: int) -> tuple[Tensor, Tensor]:
    settings = {"caption_index": torch.arange(len(tokens)), "seed": 1, "epoch": 1, **options}
    return mask_words(tokens, probability, **settings, tokenizer=CLIP_TOKENIZER)  # type: ignore[arg-type]


def share_is(count: int, total: int, share: float) -> bool:
    return abs(count - total * share) < 4 * math.sqrt(total * share * (1 - share))


def test_shares_are_the_published_ones() -> None:
    tokens = long_captions(4000)
    masked, labels = mask(tokens)
    words, selected = 4000 * 75, int((labels > 0).sum())
    assert share_is(selected, words, 0.15)
    assert share_is(int((masked == MASK).sum()), selected, 0.8)
    changed = (masked != tokens) & (masked != MASK)
    assert share_is(int(changed.sum()), selected, 0.1)
    drawn = masked[changed].double()
    assert drawn.min() >= 1
    assert drawn.max() < WORD_LIMIT
    # uniform on 1..49404: mean 24702.5, deviation 14262
    assert abs(drawn.mean() - 24702.5) < 4 * 14262 / math.sqrt(len(drawn))


def test_every_position_is_selected_as_often() -> None:
    labels = mask(long_captions(20000))[1]
    counts = (labels[:, 1:76] > 0).sum(dim=0)
    assert all(abs(int(count) - 3000) < 5 * math.sqrt(3000 * 0.85) for count in counts)


def test_labels_hold_the_original_id_of_selected_words_only() -> None:
    tokens = long_captions(200, words=20)
    masked, labels = mask(tokens)
    assert torch.equal(labels[labels > 0], tokens[labels > 0])
    assert torch.equal(masked[labels == 0], tokens[labels == 0])
    assert (labels[:, 0] == 0).all()
    assert (labels[:, 21:] == 0).all()


def test_a_caption_without_a_selected_word_gets_its_first_word_masked() -> None:
    tokens = tokenize(["a man", "shoes"])
    masked, labels = mask(tokens, 0.0)
    assert masked[:, 1].tolist() == [MASK, MASK]
    assert labels[:, 1].tolist() == tokens[:, 1].tolist()
    assert torch.equal(masked[:, 2:], tokens[:, 2:])
    assert (labels[:, 2:] == 0).all()
    masked, labels = mask(tokens, 0.0, mask_at_least_one=False)
    assert torch.equal(masked, tokens)
    assert not labels.any()


def test_an_empty_caption_is_left_alone() -> None:
    tokens = tokenize(["", "  "])
    masked, labels = mask(tokens, 1.0)
    assert torch.equal(masked, tokens)
    assert not labels.any()


def test_draws_depend_on_caption_epoch_and_seed_alone() -> None:
    tokens = long_captions(64)
    index = torch.arange(64) * 1_000_003
    whole = mask(tokens, caption_index=index)
    parts = [mask(tokens[rows], caption_index=index[rows]) for rows in torch.arange(64).split([5, 40, 19])]
    assert torch.equal(torch.cat([part[0] for part in parts]), whole[0])
    assert torch.equal(torch.cat([part[1] for part in parts]), whole[1])
    assert not torch.equal(mask(tokens, caption_index=index, epoch=2)[0], whole[0])
    assert not torch.equal(mask(tokens, caption_index=index, seed=2)[0], whole[0])


def test_shorter_padding_masks_the_same_words() -> None:
    tokens = long_captions(32, words=20)
    assert torch.equal(mask(tokens[:, :30])[0], mask(tokens)[0][:, :30])


def test_masks_are_a_function_of_their_draws() -> None:
    # Six words with listed draws: below the probability it becomes the mask, a random word, or stays.
    tokens = long_captions(1, words=6)
    selection = torch.full((1, LENGTH), 0.9)
    selection[0, [1, 2, 3, 4]] = torch.tensor([0.1, 0.2, 0.299, 0.3])
    kind, words = torch.full_like(tokens, 7), torch.full_like(tokens, 11)
    kind[0, 2], kind[0, 3] = 8, 9
    masked, labels = apply_masks(tokens, 0.3, MaskDraws(selection, kind, words), tokenizer=CLIP_TOKENIZER)
    assert masked[0, 1:7].tolist() == [MASK, 11, 1800, 2400, 3000, 3600]
    assert labels[0, 1:7].tolist() == [600, 1200, 1800, 0, 0, 0]
    assert masked[0, 7] == END and not labels[0, 7:].any()


def test_the_draws_are_those_of_the_seed_epoch_and_caption() -> None:
    tokens, index = long_captions(8), torch.arange(8)
    draws = draw_masks(index, LENGTH, seed=1, epoch=1, tokenizer=CLIP_TOKENIZER)
    assert torch.equal(apply_masks(tokens, 0.15, draws, tokenizer=CLIP_TOKENIZER)[0], mask(tokens)[0])
    assert draws.kind.min() >= 0 and draws.kind.max() <= 9
    assert draws.words.min() >= 1 and draws.words.max() < WORD_LIMIT


def test_probabilities_may_be_given_per_token() -> None:
    tokens = long_captions(50, words=10)
    probability = torch.zeros(50, LENGTH)
    probability[:, 3] = 1.0
    labels = mask(tokens, probability)[1]
    assert (labels[:, 3] > 0).all()
    assert int((labels > 0).sum()) == 50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_draws_the_same_masks() -> None:
    tokens = long_captions(64)
    index = torch.arange(64)
    masked, labels = mask(tokens.cuda(), caption_index=index.cuda())
    assert torch.equal(masked.cpu(), mask(tokens)[0])
    assert torch.equal(labels.cpu(), mask(tokens)[1])
