"""Augmented captions: the published shares, what moves up, and independence of batch splits."""

import math

import pytest
import torch

from tests.data.test_masking import long_captions, share_is
from tpr.data import tokenize
from tpr.data.text.text_augment import augment_captions, change_words
from tpr.data.text.tokens import CLIP_TOKENIZER, END, MASK, START, WORD_LIMIT

KEEP, MASKED, REPLACED, DELETED = 0.9, 0.05, 0.13, 0.17


def augment(tokens, share=0.2, **options):
    settings = {"caption_index": torch.arange(len(tokens)), "seed": 1, "epoch": 1, **options}
    return augment_captions(tokens, share, **settings, tokenizer=CLIP_TOKENIZER)


def test_each_kind_of_change_by_hand():
    tokens = torch.tensor([[START, 11, 12, 13, 14, END, 0, 0]])
    uniform = torch.tensor([[MASKED, MASKED, DELETED, REPLACED, KEEP, MASKED, MASKED, DELETED]])
    words = torch.full((1, 8), 77)
    assert change_words(tokens, 0.2, uniform, words, tokenizer=CLIP_TOKENIZER).tolist() == [
        [START, MASK, 77, 14, END, 0, 0, 0]
    ]


def test_start_end_and_padding_stay():
    tokens = tokenize(["a man in red", "", "shoes"], 12)
    for drawn in (MASKED, REPLACED, DELETED):
        changed = change_words(
            tokens, 0.2, torch.full((3, 12), drawn), torch.full((3, 12), 5), tokenizer=CLIP_TOKENIZER
        )
        assert (changed[:, 0] == START).all()
        assert ((changed == END).sum(dim=1) == 1).all()
        assert torch.equal(changed[1], tokens[1])
    assert changed[:, :2].tolist() == [[START, END]] * 3  # all words are gone
    assert not changed[:, 2:].any()


def test_a_share_of_zero_leaves_captions_alone_and_one_changes_every_word():
    tokens = long_captions(50, words=20)
    assert torch.equal(augment(tokens, 0.0), tokens)
    changed = augment(tokens, 1.0)
    kept = sum(
        len(set(row) & set(old)) - 3 for row, old in zip(changed.tolist(), tokens.tolist(), strict=True)
    )
    assert kept < 10  # a random word may be one of the caption's own


def test_shares_are_the_published_ones():
    tokens = long_captions(2000)
    changed = augment(tokens)
    words = 2000 * 75
    masked, left = int((changed == MASK).sum()), int((changed > 0).sum()) - 2 * 2000
    assert share_is(masked, words, 0.12)
    assert share_is(words - left, words, 0.04)
    is_new = (changed > 0) & (changed < WORD_LIMIT) & (changed % 600 != 0)
    # One random word in six hundred looks like a word of these captions.
    assert share_is(int(is_new.sum()), words, 0.04 * 599 / 600)
    drawn = changed[is_new].double()
    assert drawn.min() >= 1
    assert abs(drawn.mean() - 24702.5) < 4 * 14262 / math.sqrt(len(drawn))


def test_the_rest_keeps_its_order():
    tokens = long_captions(100, words=30)
    for row in augment(tokens).tolist():
        own = [number for number in row if number and number % 600 == 0 and number < WORD_LIMIT]
        rising = [number for number in own if number <= 30 * 600]
        assert len(rising) > 15
        assert sum(a >= b for a, b in zip(rising, rising[1:], strict=False)) <= 2
        assert row[row.index(END) + 1 :] == [0] * (76 - row.index(END))


def test_draws_depend_on_caption_epoch_and_seed_alone():
    tokens, index = long_captions(64), torch.arange(64) * 1_000_003
    whole = augment(tokens, caption_index=index)
    parts = [augment(tokens[rows], caption_index=index[rows]) for rows in torch.arange(64).split([5, 40, 19])]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(augment(tokens, caption_index=index, epoch=-1), whole)
    assert not torch.equal(augment(tokens, caption_index=index, seed=2), whole)


def test_shorter_padding_changes_the_same_words():
    tokens = long_captions(32, words=20)
    assert torch.equal(augment(tokens[:, :30]), augment(tokens)[:, :30])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_changes_the_same_words():
    tokens = long_captions(64)
    assert torch.equal(augment(tokens.cuda(), caption_index=torch.arange(64).cuda()).cpu(), augment(tokens))
