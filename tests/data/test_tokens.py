"""Parity with the published tokenizer, and captions that would break it."""

import time

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from tests.parity.fixtures import read_fixture
from tpr.data import tokenize
from tpr.data.text.tokens import (
    CLIP_TOKENIZER,
    END,
    MASK,
    START,
    WORD_LIMIT,
    load_word_pieces,
)
from tpr.errors import DataError

CASES = read_fixture("metrics")["tokens"]


def words(caption: str) -> list[int]:
    return load_word_pieces().encode(caption)


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_ids_equal_the_published_ones(case: dict) -> None:
    assert tokenize([case["caption"]])[0].tolist() == case["ids"]


def test_a_batch_is_its_rows() -> None:
    rows = tokenize([case["caption"] for case in CASES])
    assert rows.dtype == torch.int64
    assert rows.tolist() == [case["ids"] for case in CASES]


def test_documented_sentences_give_the_documented_ids() -> None:
    caption = "A woman is wearing a gray shirt, a pair of brown pants and a pair of shoes."
    body = [320, 2308, 533, 3309, 320, 7048, 2523, 267, 320, 4038, 539, 2866, 5003]
    assert words(caption) == [*body, 537, 320, 4038, 539, 4079, 269]
    body = [518, 786, 11869, 320, 1746, 339, 268, 2523, 261, 10157, 269]
    assert words("The man wears a blue t-shirt &amp; jeans.") == body


def test_truncation_keeps_the_end_token() -> None:
    row = tokenize(["shoe " * 200])[0]
    assert row.shape == (77,)
    assert row.tolist() == [START] + [7342] * 75 + [END]
    assert tokenize(["shoe " * 3], length=5)[0].tolist() == [START, 7342, 7342, 7342, END]
    assert tokenize(["shoe " * 4], length=5)[0].tolist() == [START, 7342, 7342, 7342, END]


def test_jekyll_splits_and_never_yields_the_mask() -> None:
    assert words("jekyll") == [43893, 865]
    assert MASK not in words("Dr. Jekyll's JEKYLL-jekyll jekylls")


@pytest.mark.parametrize("text", ["<|endoftext|>", "<|startoftext|>", "<end_of_text>", "<START_of_text>"])
def test_special_strings_are_ordinary_symbols(text: str) -> None:
    row = tokenize([f"a man {text} in red"])[0]
    assert (row == END).sum() == 1
    assert (row == START).sum() == 1
    assert (row == MASK).sum() == 0
    assert row.tolist()[1:3] == [320, 786]
    end = int(row.argmax())
    assert row.tolist()[end - 2 : end] == words("in red")


def test_empty_and_invisible_captions_are_start_and_end() -> None:
    for caption in ["", "   ", "\t\n", "\x00\x01\x1b"]:
        assert tokenize([caption], length=4)[0].tolist() == [START, END, 0, 0]
    assert tokenize([]).shape == (0, 77)


def test_all_other_ids_are_words() -> None:
    rng = np.random.RandomState(0)
    captions = ["".join(chr(c) for c in rng.randint(0, 0x2FF, 60)) for _ in range(300)]
    ids, _ = CLIP_TOKENIZER.encode(captions)
    assert ids.max() < WORD_LIMIT


def test_nasty_strings_and_plain_captions_equal_open_clip() -> None:
    # The short way round ftfy must not be taken by a string that cleaning would change.
    plain = SimpleTokenizer()
    rng = np.random.RandomState(1)
    nasty = ["&amp;", "&lt;", " ", "  ", "\t", "é", "â€™", "’", "ﬁ", "\ud83d", "中"]
    alphabet = [chr(c) for c in range(32, 127)] + nasty
    for _ in range(500):
        caption = "".join(rng.choice(alphabet, size=rng.randint(1, 40)))
        assert words(caption) == plain.encode(caption), caption


def test_a_caption_of_ten_thousand_words_is_quick() -> None:
    rng = np.random.RandomState(2)
    load_word_pieces()
    caption = " ".join("".join(rng.choice(list("abcdefgh"), size=5)) for _ in range(10_000))
    start = time.process_time()
    tokenize([caption, "a" * 100_000])
    assert time.process_time() - start < 20  # half a second; quadratic merging took minutes


def test_padding_picks_any_captions_in_any_order() -> None:
    ids = np.array([5, 6, 7, 8, 9, 10], dtype=np.uint16)
    offsets = np.array([0, 2, 2, 6])
    rows = CLIP_TOKENIZER.arrange(ids, offsets, np.array([2, 0, 1, 2]), 5)
    assert rows.tolist() == [
        [START, 7, 8, 9, END],
        [START, 5, 6, END, 0],
        [START, END, 0, 0, 0],
        [START, 7, 8, 9, END],
    ]


def test_a_word_ends_where_its_last_piece_says() -> None:
    tokens = tokenize(["a turtleneck, in-between houndstooth jekyll"], 16)
    words = {"a": 1, "turtleneck": 3, ",": 1, "in": 1, "-": 1, "between": 1, "houndstooth": 3, "jekyll": 2}
    wanted = [place == count for count in words.values() for place in range(1, count + 1)]
    ends = CLIP_TOKENIZER.find_word_ends(tokens)
    assert ends[0, 1 : len(wanted) + 1].tolist() == wanted
    assert not CLIP_TOKENIZER.find_word_ends(torch.tensor([[0, START, END]])).any()


def test_something_that_is_no_text_is_named() -> None:
    with pytest.raises(DataError, match="caption 1 is None, expected text"):
        tokenize(["a man", None])  # type: ignore[list-item]
