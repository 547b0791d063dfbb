"""The cached token table: made once, mapped, whole or not there."""

import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.data.small_sets import flip_bit
from tpr.config.schema import DataOptions
from tpr.data import tokenize
from tpr.data.tables.checksums import write_sealed
from tpr.data.tables.corpus import Corpus, offsets_of
from tpr.data.text import token_cache
from tpr.data.text.token_cache import TokenTable, corpus_tokens
from tpr.data.text.tokens import CLIP_TOKENIZER, END, START, ClipTokenizer
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


def list_tables(cache: Path) -> list[str]:
    """Names of all token tables, unfinished ones too; locks stay."""
    return [path.name for path in (cache / "tokens").iterdir() if path.suffix != ".lock"]


def test_rows_equal_the_tokenizer(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus(), DataOptions(cache=tmp_path), CLIP_TOKENIZER)
    flat = [caption for captions in CAPTIONS for caption in captions]
    assert len(table) == 5
    for length in (77, 6):
        assert table.rows(np.arange(5), length).tolist() == tokenize(flat, length).tolist()
    assert table.rows(np.array([4, 0]), 8).tolist() == tokenize([flat[4], flat[0]], 8).tolist()


def test_the_longest_caption_counts_start_and_end(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus(), DataOptions(cache=tmp_path), CLIP_TOKENIZER)
    assert table.find_longest(np.array([0, 1]), 77) == 6
    assert table.find_longest(np.array([2, 3]), 77) == 77
    assert table.find_longest(np.array([3]), 77) == 2
    assert table.find_longest(np.array([], dtype=np.int64), 77) == 2


def test_a_second_start_maps_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataOptions(cache=tmp_path)
    first = corpus_tokens(make_corpus(), data, CLIP_TOKENIZER)
    monkeypatch.setattr(ClipTokenizer, "split", lambda tokenizer, caption: pytest.fail("tokenised twice"))
    second = corpus_tokens(make_corpus(), data, CLIP_TOKENIZER)
    assert np.array_equal(first.ids, second.ids)
    assert isinstance(second.ids.base, np.memmap)
    assert second.ids.dtype == np.uint16


def test_other_captions_get_another_table(tmp_path: Path) -> None:
    data = DataOptions(cache=tmp_path)
    corpus_tokens(make_corpus(), data, CLIP_TOKENIZER)
    other = corpus_tokens(make_corpus([["red"]], fingerprint="f2"), data, CLIP_TOKENIZER)
    assert other.rows(np.array([0]), 3).tolist() == [[START, 736, END]]
    assert len(list_tables(tmp_path)) == 2


def test_a_damaged_table_is_made_again(tmp_path: Path) -> None:
    data = DataOptions(cache=tmp_path)
    folder = corpus_tokens(make_corpus(), data, CLIP_TOKENIZER).folder
    for content in (b"", b"nonsense", (folder / "ids.npy").read_bytes()[:-4]):
        (folder / "ids.npy").unlink()
        (folder / "ids.npy").write_bytes(content)
        assert len(corpus_tokens(make_corpus(), data, CLIP_TOKENIZER)) == 5
    assert list_tables(tmp_path) == [folder.name]


def test_long_captions_are_counted_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        corpus_tokens(make_corpus(), DataOptions(cache=tmp_path), CLIP_TOKENIZER)
    assert caplog.messages == ["some_set: 1 of 5 captions are longer than data.text_length=77 and are cut"]


def test_a_pickled_table_is_a_path(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus([["word " * 50] * 1000]), DataOptions(cache=tmp_path), CLIP_TOKENIZER)
    content = pickle.dumps(table)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).ids, table.ids)


def test_a_corpus_without_captions_has_an_empty_table(tmp_path: Path) -> None:
    table = corpus_tokens(make_corpus([[], []]), DataOptions(cache=tmp_path), CLIP_TOKENIZER)
    assert len(table) == 0
    assert table.rows(np.array([], dtype=np.int64), 5).shape == (0, 5)


def test_chunks_and_slices_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "CAPTIONS_AT_ONCE", 2)
    whole = make_corpus([[f"number {n}", "x"] for n in range(7)])
    part = whole.select(np.array([6, 0, 3, 4]))
    table = corpus_tokens(part, DataOptions(cache=tmp_path), CLIP_TOKENIZER)
    expected = [f"number {n}" for n in (6, 0, 3, 4)]
    assert table.rows(np.arange(0, 8, 2), 9).tolist() == tokenize(expected, 9).tolist()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"the cache folder .*file/tokens cannot be written .*set data.cache"):
        corpus_tokens(make_corpus(), DataOptions(cache=tmp_path / "file"), CLIP_TOKENIZER)


def test_a_flipped_bit_anywhere_changes_no_token(tmp_path: Path) -> None:
    data = DataOptions(cache=tmp_path)
    table = corpus_tokens(make_corpus(), data, CLIP_TOKENIZER)
    expected = table.rows(np.arange(5), 77).tolist()
    files = sorted(table.folder.iterdir())
    assert [path.name for path in files] == ["ids.npy", "manifest.json", "offsets.npy"]
    random = np.random.default_rng(1)
    for _ in range(20):
        flip_bit(files[random.integers(len(files))], random)
        assert corpus_tokens(make_corpus(), data, CLIP_TOKENIZER).rows(np.arange(5), 77).tolist() == expected


def test_a_table_that_is_made_again_is_told_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, data = make_corpus([["red"]]), DataOptions(cache=tmp_path)
    folder = corpus_tokens(corpus, data, CLIP_TOKENIZER).folder
    flip_bit(folder / "offsets.npy", np.random.default_rng(2))
    for _ in range(2):
        corpus_tokens(corpus, data, CLIP_TOKENIZER)
    assert caplog.messages == [
        f"cached token ids are damaged and are made again: {folder}/offsets.npy: is damaged "
        "(it does not match its checksum)"
    ]


def test_a_table_of_another_corpus_is_made_again(tmp_path: Path) -> None:
    data = DataOptions(cache=tmp_path)
    other = corpus_tokens(make_corpus([["red"]], fingerprint="f2"), data, CLIP_TOKENIZER).folder
    mine = corpus_tokens(make_corpus(), data, CLIP_TOKENIZER).folder
    shutil.rmtree(mine)
    other.rename(mine)
    assert len(corpus_tokens(make_corpus(), data, CLIP_TOKENIZER)) == 5


def test_opening_what_is_no_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="manifest.json: cannot be read"):
        TokenTable.open(tmp_path, CLIP_TOKENIZER)
    write_sealed(tmp_path / "manifest.json", {"ids.npy": [1]})
    with pytest.raises(DataError, match="cannot be read"):
        TokenTable.open(tmp_path, CLIP_TOKENIZER)
