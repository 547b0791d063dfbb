"""BERT's word pieces: equal to transformers' own, and to everything else a tokenizer like CLIP's."""

import json
import math
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants, file_download
from transformers import BertTokenizerFast

from tpr.config.schema import DataOptions
from tpr.data.text.masking import mask_words
from tpr.data.text.noise_aware import average_over_words
from tpr.data.text.text_augment import augment_captions
from tpr.data.text.token_cache import TokenTable, corpus_tokens
from tpr.data.text.tokenizer import Tokenizer
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.data.text.word_pieces import SMALL_VOCABULARY, BertTokenizer, find_vocabulary, read_vocabulary
from tpr.drawn.layouts import PLANNERS
from tpr.errors import ConfigError
from tpr.models.token_selection import select_words

# The oldest transformers tells of a default that is to change, whatever tokenizer is made.
pytestmark = pytest.mark.filterwarnings("ignore:`clean_up_tokenization_spaces`:FutureWarning")
BERT = BertTokenizer()
SCRIPT = Path(__file__).parents[2] / "scripts" / "word_pieces.py"
CAPTIONS = [
    "A woman in a red coat.",
    "The man's jacket is navy-blue; shoes are white!",
    "Über-long turtleneck",
    "",
    "a man [SEP] with a [MASK] bag",
    "中 x",
    "A MAN, 25; (in) \u201cJEANS\u201d \U0001f600 & na\u00efve\u00a0caf\u00e9\tbag\u200b\ufffd",
    "x" * 101 + " red",
    "red coat " * 50,
]
PLAIN = "\n".join(["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "##s", ""])


def show(ids: list[int]) -> list[str]:
    return [BERT.pieces[number] for number in ids]


def test_ids_are_those_of_transformers() -> None:
    theirs = BertTokenizerFast(str(SMALL_VOCABULARY), do_lower_case=True)
    for caption in (text for text in CAPTIONS if "[" not in text):
        for length in (24, 64):
            wanted = theirs(caption, padding="max_length", truncation=True, max_length=length)["input_ids"]
            assert BERT.tokenize([caption], length)[0].tolist() == wanted


def test_special_strings_in_a_caption_are_ordinary_text() -> None:
    tokens = BERT.tokenize([CAPTIONS[4]], 40)[0].tolist()
    assert tokens.count(BERT.end) == tokens.count(BERT.start) == 1
    assert BERT.mask not in tokens


def test_the_small_vocabulary_holds_what_annotators_of_the_drawn_world_can_say() -> None:
    pieces = runpy.run_path(str(SCRIPT))["list_pieces"]()
    assert list(BERT.pieces) == pieces, f"run {SCRIPT.name} after a change of the drawn world's words"


@pytest.mark.parametrize("name", ["cuhk_pedes", "icfg_pedes", "rstpreid", "luperson_mllm", "synth_pedes"])
def test_captions_of_the_drawn_world_are_whole_words(name: str) -> None:
    files = dict(PLANNERS[name](4, 0).encoded_files())
    texts = [text for path, text in files.items() if str(path).endswith(".json")]
    captions = [entry for text in texts for entry in list_texts(json.loads(text))]
    ids, _ = BERT.encode(captions)
    assert len(captions) > 20 and BERT.unknown not in ids
    letters = {piece for piece in BERT.pieces if piece.startswith("##")}
    assert not {BERT.pieces[number] for number in ids} & letters


def list_texts(content: object) -> list[str]:
    """Every text of more than one word in an annotation."""
    if isinstance(content, str):
        return [content] if " " in content and "<" not in content else []
    entries = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return [text for entry in entries for text in list_texts(entry)]


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
    tokens = tokenizer.tokenize(["a man in a red coat with a bag"] * 400, 16)
    index, is_word = torch.arange(400), tokenizer.find_words(tokens)
    masked, labels = mask_words(tokens, 0.5, caption_index=index, seed=1, epoch=1, tokenizer=tokenizer)
    augmented = augment_captions(tokens, 0.5, caption_index=index, seed=1, epoch=1, tokenizer=tokenizer)
    assert torch.equal(masked[~is_word], tokens[~is_word])
    selected = labels > 0
    assert torch.equal(selected, is_word & (labels == tokens))
    becomes_mask, changed = masked == tokenizer.mask, masked != tokens
    assert share_is(selected.sum(), is_word.sum(), 0.5)
    assert share_is(becomes_mask.sum(), selected.sum(), 0.8)
    # A random word may be the old one, which nobody sees.
    assert share_is((changed & ~becomes_mask).sum(), selected.sum(), 0.1 * (1 - 1 / len(tokenizer.words)))
    drawn = masked[changed & ~becomes_mask]
    assert tokenizer.words.start <= drawn.min() and drawn.max() < tokenizer.words.stop
    middle, deviation = (
        (tokenizer.words.start + tokenizer.words.stop) / 2,
        len(tokenizer.words) / math.sqrt(12),
    )
    assert abs(drawn.double().mean() - middle) < 4 * deviation / math.sqrt(len(drawn))
    assert ((augmented == tokenizer.end).sum(dim=1) == 1).all() and (augmented[:, 0] == tokenizer.start).all()
    attention = torch.rand(400, 16, generator=torch.Generator().manual_seed(0))
    positions = select_words(attention, tokens, 4, tokenizer=tokenizer).positions
    assert tokenizer.find_words(tokens).gather(1, positions).all()


def share_is(count: torch.Tensor, total: torch.Tensor, share: float) -> bool:
    """Within four deviations of a share of independent draws."""
    return abs(int(count) - int(total) * share) < 4 * math.sqrt(int(total) * share * (1 - share))


def test_each_tokenizer_has_a_token_table_of_its_own(tmp_path: Path) -> None:
    from tests.engine.small_runs import make_corpus

    corpus, data = make_corpus(tmp_path), DataOptions(cache=tmp_path / "cache")
    tables = [corpus_tokens(corpus, data, tokenizer) for tokenizer in (CLIP_TOKENIZER, BERT)]
    assert tables[0].folder != tables[1].folder
    rows = tables[1].rows(np.arange(2), 20)
    assert torch.equal(torch.from_numpy(rows), BERT.tokenize(corpus.captions(0), 20))
    again: TokenTable = pickle.loads(pickle.dumps(tables[1]))
    assert again.tokenizer == BERT and np.array_equal(again.rows(np.arange(2), 20), rows)


def test_a_changed_vocabulary_makes_another_token_table(tmp_path: Path) -> None:
    from tests.engine.small_runs import make_corpus

    corpus, data = make_corpus(tmp_path), DataOptions(cache=tmp_path / "cache")
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(BERT.pieces) + "\n", encoding="utf-8")
    same = corpus_tokens(corpus, data, BertTokenizer(path))
    assert same.folder == corpus_tokens(corpus, data, BERT).folder
    path.write_text("\n".join([*BERT.pieces[:-2], *BERT.pieces[:-3:-1]]) + "\n", encoding="utf-8")
    other = corpus_tokens(corpus, data, BertTokenizer(path))
    assert other.folder != same.folder and other.tokenizer != BERT
    path.unlink()  # the tokenizers have what they need
    assert same.tokenizer.split("zipped young") == BERT.split("young zipped")[::-1]
    assert other.tokenizer.split("zipped young") == BERT.split("young zipped")


def test_a_vocabulary_is_named_by_file_folder_or_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_vocabulary(None) == SMALL_VOCABULARY
    theirs = BertTokenizerFast(str(SMALL_VOCABULARY), do_lower_case=True)
    theirs.save_pretrained(tmp_path)
    assert BertTokenizer(find_vocabulary(str(tmp_path))) == BERT
    text = tmp_path / "vocab.txt"
    text.write_text(PLAIN)
    assert find_vocabulary(str(tmp_path)) == find_vocabulary(str(text)) == text
    assert BertTokenizer(text).words == range(6, 9)
    commit = tmp_path / "hub" / "models--group--bert" / "snapshots" / ("0" * 40)
    commit.mkdir(parents=True)
    (commit / "vocab.txt").write_text(PLAIN)
    (commit.parents[1] / "refs").mkdir()
    (commit.parents[1] / "refs" / "main").write_text("0" * 40)
    # Older versions of the library keep the folder where they read it, too.
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert BertTokenizer(find_vocabulary("group/bert")) == BertTokenizer(text)
    for missing in ("group/other", "no such/file/at all.txt", "x" * 5000):
        with pytest.raises(ConfigError, match="no such file or folder, and no tag .* that can be") as caught:
            find_vocabulary(missing)
        assert f"{missing}/resolve/main/vocab.txt" in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty/vocab.txt: the vocabulary cannot be read"):
        BertTokenizer(find_vocabulary(str(tmp_path / "empty")))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "vocab.txt",
            b"man\nwoman\n",
            r"no vocabulary of BERT: \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\] missing",
        ),
        ("vocab.txt", PLAIN.encode() + b"man\n", "10 pieces, 9 different"),
        ("vocab.txt", b"a\n" + PLAIN.encode()[:-11], r"the last piece is \[MASK\]; expected special pieces"),
        ("vocab.txt", PLAIN.encode() + b"Man\n", r"a cased vocabulary \(piece 'Man'\)"),
        ("vocab.txt", b"\xff\xfe", "is not text in UTF-8"),
        ("tokenizer.json", b"{}", "no tokenizer.json of BERT"),
        ("tokenizer.json", b'{"model": {"vocab": {"a": 1}}}', "no tokenizer.json of BERT"),
        ("tokenizer.json", b'{"model": {"vocab": []}}', "no tokenizer.json of BERT"),
        ("tokenizer.json", b"[" * 100_000, "no tokenizer.json of BERT"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        BertTokenizer(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_vocabulary(tmp_path / "none.txt")
