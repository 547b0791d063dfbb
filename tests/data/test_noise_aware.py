"""Masking probabilities: the published formula, and a mean that is exact where probabilities are clipped."""

import math

import pytest
import torch

from tpr.data import tokenize
from tpr.data.text.masking import mask_words
from tpr.data.text.noise_aware import average_over_words, find_probability, find_shift
from tpr.data.text.tokens import CLIP_TOKENIZER, END, START

LENGTH = 20
RATE = 0.15


def make_tokens(counts):
    """Captions of so many words, padded."""
    tokens = torch.zeros(len(counts), LENGTH, dtype=torch.int64)
    tokens[:, 0] = START
    for row, count in zip(tokens, counts, strict=True):
        row[1 : count + 1] = torch.arange(1, count + 1) * 600
        row[count + 1] = END
    return tokens


def draw_similarities(captions, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand((captions, LENGTH), generator=generator, dtype=torch.float64) - 0.5
    return (values * 2 * spread).float()


def mean_over_words(probability, tokens):
    is_word = (tokens > 0) & (tokens < 49405)
    return (probability * is_word).sum(dim=1) / is_word.sum(dim=1)


def test_the_published_formula_on_the_papers_figure():
    # Largest entry of each row of the figure's similarities, spec 13 case 3.
    tokens = make_tokens([4])
    similarity = torch.full((1, LENGTH), 0.5)
    similarity[0, 1:5] = torch.tensor([0.27, 0.40, 0.09, 0.21])
    published = find_probability(similarity, tokens, RATE, renormalise=False, tokenizer=CLIP_TOKENIZER)
    assert published[0, 1:5].tolist() == pytest.approx([0.1225, 0.0, 0.3025, 0.1825], abs=1e-6)
    assert mean_over_words(published, tokens).item() == pytest.approx(0.151875, abs=1e-6)
    ours = find_probability(similarity, tokens, RATE, tokenizer=CLIP_TOKENIZER)
    assert mean_over_words(ours, tokens).item() == pytest.approx(RATE, abs=1e-12)
    # Three words share what the fourth cannot give: each a third of 0.0075 lower.
    assert ours[0, 1:5].tolist() == pytest.approx([0.12, 0.0, 0.30, 0.18], abs=1e-6)


@pytest.mark.parametrize("rate", [0.02, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0])
def test_the_mean_is_the_rate_wherever_probabilities_are_clipped(rate, spread):
    counts = [1, 2, 3, 5, 8, 13, 18] * 20
    tokens = make_tokens(counts)
    probability = find_probability(
        draw_similarities(len(counts), spread), tokens, rate, tokenizer=CLIP_TOKENIZER
    )
    torch.testing.assert_close(
        mean_over_words(probability, tokens),
        torch.full((len(counts),), rate, dtype=torch.float64),
        rtol=0,
        atol=1e-12,
    )
    assert probability.min() >= 0 and probability.max() <= 1


def test_clipping_bites_at_both_ends_and_the_mean_stays():
    # Of 18 words one fits not at all and most fit well: it is masked always, some others never.
    tokens = make_tokens([18])
    similarity = torch.full((1, LENGTH), 0.9)
    similarity[0, 3], similarity[0, 7], similarity[0, 9:12] = -0.9, -0.2, 1.0
    probability = find_probability(similarity, tokens, RATE, tokenizer=CLIP_TOKENIZER)[0, 1:19]
    assert probability.mean().item() == pytest.approx(RATE, abs=1e-12)
    assert probability[2] == 1.0
    assert (probability[8:11] == 0).all()
    assert (probability[0] > 0) and (probability[0] < 1)


def test_the_shift_equals_a_slow_search():
    tokens = make_tokens([1, 4, 9, 18, 18])
    is_word = (tokens > 0) & (tokens < 49405)
    noise = torch.where(is_word, 1 - draw_similarities(5, 1.0, seed=3).double(), 0.0)
    for row, chosen, found in zip(noise, is_word, find_shift(noise, is_word, RATE), strict=True):
        low, high = -3.0, 3.0
        for _ in range(100):
            middle = (low + high) / 2
            if (row[chosen] + middle).clamp(0, 1).mean() < RATE:
                low = middle
            else:
                high = middle
        assert found.item() == pytest.approx(low, abs=1e-10)


def test_a_flat_piece_that_has_just_the_sum():
    # One of two words is wholly masked before the other begins: every shift in between gives a mean of 1/2.
    tokens = make_tokens([2])
    similarity = torch.zeros(1, LENGTH)
    similarity[0, 1], similarity[0, 2] = -1.0, 0.9
    probability = find_probability(similarity, tokens, 0.5, tokenizer=CLIP_TOKENIZER)
    assert probability[0, 1:3].tolist() == pytest.approx([1.0, 0.0], abs=1e-7)


@pytest.mark.parametrize("renormalise", [True, False])
def test_unknown_rows_are_masked_equally_and_other_ids_never(renormalise):
    tokens = make_tokens([5, 18, 0])
    similarity = torch.full((3, LENGTH), torch.nan)
    similarity[1] = 0.3
    probability = find_probability(
        similarity, tokens, RATE, renormalise=renormalise, tokenizer=CLIP_TOKENIZER
    )
    torch.testing.assert_close(probability[0, 1:6], torch.full((5,), RATE, dtype=torch.float64))
    torch.testing.assert_close(probability[1, 1:19], torch.full((18,), RATE, dtype=torch.float64))
    assert not probability[tokens.eq(0) | tokens.ge(START)].any()
    assert not probability[2].any()


def test_what_stands_outside_of_the_words_changes_nothing():
    tokens = make_tokens([5, 3])
    similarity = draw_similarities(2, 0.5)
    spoilt = torch.where((tokens > 0) & (tokens < 49405), similarity, torch.nan)
    for renormalise in (True, False):
        expected = find_probability(
            similarity, tokens, RATE, renormalise=renormalise, tokenizer=CLIP_TOKENIZER
        )
        assert torch.equal(
            find_probability(spoilt, tokens, RATE, renormalise=renormalise, tokenizer=CLIP_TOKENIZER),
            expected,
        )


def test_a_row_does_not_depend_on_the_others():
    counts = [1, 4, 9, 18]
    tokens, similarity = make_tokens(counts), draw_similarities(4, 0.6)
    whole = find_probability(similarity, tokens, RATE, tokenizer=CLIP_TOKENIZER)
    for row in range(4):
        alone = find_probability(
            similarity[row : row + 1], tokens[row : row + 1], RATE, tokenizer=CLIP_TOKENIZER
        )
        assert torch.equal(alone, whole[row : row + 1])


@pytest.mark.parametrize("renormalise", [True, False])
def test_planted_noise_is_masked_as_often_as_the_formula_says(renormalise):
    tokens = make_tokens([13, 18])
    similarity = torch.full((2, LENGTH), 0.35)
    similarity[0, 4], similarity[1, 10:12] = 0.05, -0.1
    probability = find_probability(
        similarity, tokens, RATE, renormalise=renormalise, tokenizer=CLIP_TOKENIZER
    )
    # By hand: word 4 of 13 has 0.3 more noise than the others, whose mean is 0.3 / 13 below the caption's.
    assert probability[0, 4].item() == pytest.approx(RATE + 0.3 - 0.3 / 13, abs=1e-6)
    assert probability[0, 5].item() == pytest.approx(RATE - 0.3 / 13, abs=1e-6)
    # Every epoch and every caption draws anew: sixty captions of each kind in fifty epochs.
    epochs, copies = 50, 60
    counts = torch.zeros(2, LENGTH)
    for epoch in range(1, epochs + 1):
        labels = mask_words(
            *(tokens.repeat(copies, 1), probability.repeat(copies, 1)),
            caption_index=torch.arange(2 * copies),
            seed=1,
            epoch=epoch,
            mask_at_least_one=False,
            tokenizer=CLIP_TOKENIZER,
        )[1]
        counts += (labels > 0).view(copies, 2, LENGTH).sum(dim=0)
    draws = epochs * copies
    deviation = (draws * probability * (1 - probability)).sqrt()
    assert ((counts - draws * probability).abs() <= 4.5 * deviation + 1e-9).all()
    words = 13 + 18
    expected = draws * probability.sum().item()
    assert abs(counts.sum().item() - expected) < 4 * math.sqrt(draws * words * RATE)
    assert renormalise is False or expected == pytest.approx(draws * words * RATE, abs=1e-6)


def test_pieces_of_a_word_share_their_mean():
    tokens = tokenize(["a turtleneck-wearing person, with a houndstooth coat"], LENGTH)
    ends = CLIP_TOKENIZER.find_word_ends(tokens)[0]
    similarity = draw_similarities(1, 0.5)
    found = average_over_words(similarity, tokens, tokenizer=CLIP_TOKENIZER)
    ids = tokens[0].tolist()
    pieces, words = [], []
    for place in range(1, ids.index(END)):
        pieces.append(place)
        if ends[place]:
            words.append(pieces)
            pieces = []
    assert not pieces
    assert max(map(len, words)) >= 2 and min(map(len, words)) == 1
    for places in words:
        wanted = similarity[0, places].mean()
        torch.testing.assert_close(found[0, places], wanted.expand(len(places)))
    outside = [0, *range(ids.index(END), LENGTH)]
    assert torch.equal(found[0, outside], similarity[0, outside])


def test_a_word_that_is_cut_with_its_caption_is_a_word():
    tokens = tokenize(["turtleneck"], 4)
    assert not CLIP_TOKENIZER.find_word_ends(tokens)[0, 2]
    similarity = torch.tensor([[9.0, 0.2, 0.4, 9.0]])
    assert average_over_words(similarity, tokens, tokenizer=CLIP_TOKENIZER)[0].tolist() == pytest.approx(
        [9.0, 0.3, 0.3, 9.0]
    )
