"""BERT's word pieces: equal to transformers' own, and to everything else a tokenizer like CLIP's."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast

from tpr.config.schema import DataOptions
from tpr.data.text.masking import mask_words
from tpr.data.text.noise_aware import average_over_words
from tpr.data.text.text_augment import augment_captions
from tpr.data.text.token_cache import TokenTable, corpus_tokens
from tpr.data.text.tokenizer import Tokenizer
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.data.text.word_pieces import SMALL_VOCABULARY, BertTokenizer, read_vocabulary
from tpr.drawn.layouts import PLANNERS
from tpr.errors import ConfigError
from tpr.models.token_selection import select_words

BERT = BertTokenizer()
CAPTIONS = [
    "A woman in a red coat.",
    "The man's jacket is navy-blue; shoes are white!",
    "Über-long turtleneck",
    "",
    "a man [SEP] with a [MASK] bag",
    "中 x",
]


def show(ids: list[int]) -> list[str]:
    return [read_vocabulary(SMALL_VOCABULARY)[number] for number in ids]


def test_ids_are_those_of_transformers() -> None:
    theirs = BertTokenizerFast(str(SMALL_VOCABULARY), do_lower_case=True)
    for caption in (*CAPTIONS[:4], CAPTIONS[5]):
        wanted = theirs(caption, padding="max_length", max_length=24)["input_ids"]
        assert BERT.tokenize([caption], 24)[0].tolist() == wanted


def test_special_strings_in_a_caption_are_ordinary_text() -> None:
    tokens = BERT.tokenize([CAPTIONS[4]], 40)[0].tolist()
    assert tokens.count(BERT.end) == tokens.count(BERT.start) == 1
    assert BERT.mask not in tokens


def test_captions_of_the_drawn_world_need_no_unknown_piece() -> None:
    plan = PLANNERS["cuhk_pedes"](4, 0)
    (content,) = (content for path, content in plan.encoded_files() if str(path).endswith(".json"))
    ids, _ = BERT.encode(content.decode().split('"'))
    assert BERT.unknown not in ids


def test_a_long_caption_is_cut_and_keeps_its_end() -> None:
    tokens = BERT.tokenize(["red coat " * 50], 8)
    assert tokens[0, -1] == BERT.end and BERT.find_ends(tokens).tolist() == [7]
    assert BERT.find_ends(BERT.tokenize(CAPTIONS[:1], 24)).tolist() == [8]


def test_a_word_ends_where_no_piece_continues_it() -> None:
    tokens = BERT.tokenize(["a turtle coat"], 12)
    assert show(tokens[0].tolist())[1:8] == ["a", "t", "##u", "##r", "##t", "##l", "##e"]
    ends = BERT.find_word_ends(tokens)[0, 1:9].tolist()
    assert ends == [True, False, False, False, False, False, True, True]
    similarity = torch.arange(12.0)[None]
    shared = average_over_words(similarity, tokens, tokenizer=BERT)[0]
    assert shared[2:8].tolist() == [4.5] * 6 and shared[[0, 1, 8, 9]].tolist() == [0, 1, 8, 9]


@pytest.mark.parametrize("tokenizer", [BERT, CLIP_TOKENIZER], ids=["word pieces", "byte pairs"])
def test_masking_augmenting_and_selecting_touch_words_alone(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokenize(["a man in a red coat with a bag"] * 200, 16)
    index, is_word = torch.arange(200), tokenizer.find_words(tokens)
    masked, labels = mask_words(tokens, 0.5, caption_index=index, seed=1, epoch=1, tokenizer=tokenizer)
    augmented = augment_captions(tokens, 0.5, caption_index=index, seed=1, epoch=1, tokenizer=tokenizer)
    assert torch.equal(masked[~is_word], tokens[~is_word])
    assert torch.equal(labels > 0, is_word & (labels == tokens))
    assert (tokenizer.find_words(masked) | (masked == tokenizer.mask))[is_word].all()
    share = (masked == tokenizer.mask).sum() / is_word.sum()
    assert 0.36 < share < 0.44
    assert ((augmented == tokenizer.end).sum(dim=1) == 1).all() and (augmented[:, 0] == tokenizer.start).all()
    attention = torch.rand(200, 16, generator=torch.Generator().manual_seed(0))
    positions = select_words(attention, tokens, 4, tokenizer=tokenizer).positions
    assert tokenizer.find_words(tokens).gather(1, positions).all()


def test_each_tokenizer_has_a_token_table_of_its_own(tmp_path: Path) -> None:
    from tests.engine.small_runs import make_corpus

    corpus, data = make_corpus(tmp_path), DataOptions(cache=tmp_path / "cache")
    tables = [corpus_tokens(corpus, data, tokenizer) for tokenizer in (CLIP_TOKENIZER, BERT)]
    assert tables[0].folder != tables[1].folder
    rows = tables[1].rows(np.arange(2), 20)
    assert torch.equal(torch.from_numpy(rows), BERT.tokenize(corpus.captions(0), 20))
    again: TokenTable = pickle.loads(pickle.dumps(tables[1]))
    assert again.tokenizer == BERT and np.array_equal(again.rows(np.arange(2), 20), rows)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"man\nwoman\n", r"no vocabulary of BERT: \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\] missing"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nman\nman\n", "7 pieces, 6 different"),
        (b"\xff\xfe", "is not text in UTF-8"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        BertTokenizer(tmp_path / "vocab.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        BertTokenizer(tmp_path / "none.txt")
