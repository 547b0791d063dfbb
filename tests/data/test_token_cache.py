"""The cached token table: made once, mapped, whole or not there."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tpr.config.schema import DataOptions
from tpr.data import token_cache, tokenize
from tpr.data.corpus import Corpus, offsets_of
from tpr.data.token_cache import TokenTable, corpus_tokens
from tpr.data.tokens import CLIP_TOKENIZER, END, START, ClipTokenizer
from tpr.errors import DataError

CAPTIONS = [["a man in red", "he walks"], [], ["shoes " * 90], ["", "a woman & a bag"]]


def make_corpus(captions: list[list[str]] = CAPTIONS, fingerprint: str = "f1") -> Corpus:
    table = pa.table({"captions": pa.array(captions, pa.list_(pa.string()))})
    return Corpus(
        name="some_set",
        split="train",
        root=Path("nowhere"),
        table=table,
        identity=np.arange(len(captions)),
        caption_offsets=offsets_of(table.column("captions")),
        has_identities=True,
        fingerprint=fingerprint,
    )


def test_rows_equal_the_tokenizer(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus(), DataOptions(cache=tmp_path))
    flat = [caption for captions in CAPTIONS for caption in captions]
    assert len(table) == 5
    for length in (77, 6):
        assert table.rows(np.arange(5), length).tolist() == tokenize(flat, length).tolist()
    assert table.rows(np.array([4, 0]), 8).tolist() == tokenize([flat[4], flat[0]], 8).tolist()


def test_the_longest_caption_counts_start_and_end(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus(), DataOptions(cache=tmp_path))
    assert table.find_longest(np.array([0, 1]), 77) == 6
    assert table.find_longest(np.array([2, 3]), 77) == 77
    assert table.find_longest(np.array([3]), 77) == 2
    assert table.find_longest(np.array([], dtype=np.int64), 77) == 2


def test_a_second_start_maps_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataOptions(cache=tmp_path)
    first = corpus_tokens(make_corpus(), data)
    monkeypatch.setattr(ClipTokenizer, "split", lambda tokenizer, caption: pytest.fail("tokenised twice"))
    second = corpus_tokens(make_corpus(), data)
    assert np.array_equal(first.ids, second.ids)
    assert isinstance(second.ids.base, np.memmap)
    assert second.ids.dtype == np.uint16


def test_other_captions_get_another_table(tmp_path: Path) -> None:
    data = DataOptions(cache=tmp_path)
    corpus_tokens(make_corpus(), data)
    other = corpus_tokens(make_corpus([["red"]], fingerprint="f2"), data)
    assert other.rows(np.array([0]), 3).tolist() == [[START, 736, END]]
    assert len(list((tmp_path / "tokens").iterdir())) == 2


def test_a_damaged_table_is_made_again(tmp_path: Path) -> None:
    data = DataOptions(cache=tmp_path)
    folder = corpus_tokens(make_corpus(), data).folder
    for content in (b"", b"nonsense", (folder / "ids.npy").read_bytes()[:-4]):
        (folder / "ids.npy").unlink()
        (folder / "ids.npy").write_bytes(content)
        assert len(corpus_tokens(make_corpus(), data)) == 5
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [folder.name]


def test_long_captions_are_counted_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        corpus_tokens(make_corpus(), DataOptions(cache=tmp_path))
    assert caplog.messages == ["some_set: 1 of 5 captions are longer than data.text_length=77 and are cut"]


def test_a_pickled_table_is_a_path(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus([["word " * 50] * 1000]), DataOptions(cache=tmp_path))
    content = pickle.dumps(table)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).ids, table.ids)


def test_a_corpus_without_captions_has_an_empty_table(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus([[], []]), DataOptions(cache=tmp_path))
    assert len(table) == 0
    assert table.rows(np.array([], dtype=np.int64), 5).shape == (0, 5)


def test_chunks_and_slices_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "CAPTIONS_AT_ONCE", 2)
    whole = make_corpus([[f"number {n}", "x"] for n in range(7)])
    part = whole.select(np.array([6, 0, 3, 4]))
    table = corpus_tokens(part, DataOptions(cache=tmp_path))
    expected = [f"number {n}" for n in (6, 0, 3, 4)]
    assert table.rows(np.arange(0, 8, 2), 9).tolist() == tokenize(expected, 9).tolist()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"the cache folder .*file/tokens cannot be written .*set data.cache"):
        corpus_tokens(make_corpus(), DataOptions(cache=tmp_path / "file"))


def test_open_refuses_files_that_do_not_belong_together(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.zeros(3, np.uint16))
    np.save(tmp_path / "offsets.npy", np.array([0, 2]))
    with pytest.raises(ValueError, match="do not belong together"):
        TokenTable.open(tmp_path, CLIP_TOKENIZER)
