"""What each query found: handed out by protocols, kept in a file and read back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.query_tables import LABEL, make_table
from tests.evaluation.toy_world import PairSystem, ProductSystem, make_corpus, make_evaluator, make_pairs
from tpr.errors import DataError
from tpr.evaluation.protocols.text import TextRetrieval
from tpr.evaluation.protocols.visible_infrared import VisibleInfrared
from tpr.evaluation.query_table import NO_CAPTION, SCHEMA, QueryTable, read_queries, write_queries
from tpr.evaluation.rows import Results

BOTH_WAYS = {"text": TextRetrieval.Options(directions=("text_to_image", "image_to_text"))}


def test_captions_and_images_that_search_are_named_and_their_means_are_the_row(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path)
    results = make_evaluator(tmp_path, corpus, protocols=BOTH_WAYS).evaluate(ProductSystem(), "test")
    (captions, images) = (table for _, table in results.list_queries())
    assert captions.caption.tolist() == list(range(corpus.caption_count))
    assert captions.image.tolist() == corpus.caption_owners().tolist()
    assert images.image.tolist() == list(range(len(corpus)))
    assert set(images.caption.tolist()) == {NO_CAPTION}
    for row, table in zip(results.rows, (captions, images), strict=True):
        assert table.results.identity.tolist() == corpus.identity[table.image].tolist()
        assert table.results.measures()[:, 0].mean() == pytest.approx(row.measures["r1"])


def test_queries_of_drawn_galleries_tell_their_texts_and_galleries(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    options = VisibleInfrared.Options(
        trials=2, sysu=("all",), directions=("infrared_to_visible", "visible_to_infrared")
    )
    evaluator = make_evaluator(tmp_path, corpus, protocols={"visible_infrared": options})
    results = evaluator.evaluate(PairSystem(("image", "text", "infrared")), "test")
    tables = dict(results.list_queries())
    kinds = {(label.direction[:8], label.query): table for label, table in tables.items()}
    infrared = np.flatnonzero(corpus.infrared())
    for kind in ("infrared", "text"):
        table = kinds["infrared", kind]
        assert table.image.tolist() == [*infrared, *infrared]
        assert table.trial.tolist() == [0] * len(infrared) + [1] * len(infrared)
        assert len(set(table.gallery.tolist())) == 2
    assert kinds["infrared", "text"].caption[: len(infrared)].tolist() == (
        corpus.caption_offsets[infrared].tolist()
    )
    assert set(kinds["infrared", "infrared"].caption.tolist()) == {NO_CAPTION}
    assert set(kinds["visible_", "text"].caption.tolist()) == {NO_CAPTION}
    assert corpus.infrared()[kinds["visible_", "text"].image].sum() == 0


def test_a_row_is_the_same_with_and_without_its_queries_and_json_leaves_them_out(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path)
    results = make_evaluator(tmp_path, corpus).evaluate(ProductSystem(), "test")
    tree = results.to_json()
    assert "queries" not in tree["rows"][0]
    stored = Results.from_json(tree)
    assert stored == results
    assert stored.list_queries() == []


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    one, other = make_table([1, 2, 0, 9], [4, 4, 5, 6], trials=2), make_table([3], [1])
    path = tmp_path / "a=b.parquet"
    write_queries(path, [(LABEL, one), (LABEL._replace(dataset="other", query="text"), other)])
    found = read_queries(path)
    assert list(found) == [LABEL, LABEL._replace(dataset="other", query="text")]
    assert found[LABEL].asks_as(one)
    for name in ("first", "average_precision", "inverse_penalty"):
        assert getattr(found[LABEL].results, name).tolist() == getattr(one.results, name).tolist()
    write_queries(path, [])
    assert read_queries(path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["a=b.parquet"]


@pytest.mark.parametrize(
    "other",
    [
        make_table([1, 1], [1, 3]),
        make_table([1, 1], [1, 2], gallery=8),
        make_table([1, 1], [1, 2], caption=1),
        make_table([1, 1], [1, 2], trials=2),
        make_table([1, 0], [1, 2]),
        make_table([1, 1, 1], [1, 2, 2]),
    ],
    ids=["identity", "gallery", "caption", "trial", "matched", "size"],
)
def test_tables_that_ask_something_else_are_told_apart(other: QueryTable) -> None:
    table = make_table([1, 1], [1, 2])
    assert table.asks_as(make_table([2, 5], [1, 2]))
    assert not table.asks_as(other)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(content)


def replace_column(name: str, values: list[object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        table = pq.ParquetFile(path).read()
        place = SCHEMA.get_field_index(name)
        pq.write_table(table.set_column(place, name, pa.array(values)), path)

    return spoil


def drop_column(path: Path) -> None:
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["first"]), path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut, ""),
        (flip, ""),
        (lambda path: path.write_text("{}"), "Parquet"),
        (make_folder, "Is a directory"),
        (drop_column, "first"),
        (replace_column("first", ["a", "b"]), ""),
        (replace_column("first", [-1, 1]), "ranks below zero"),
        (replace_column("first", [0, 0]), "no query of toy, text to image has a match"),
        (replace_column("first", [1, None]), "empty cells"),
        (replace_column("image", [0, -1]), "images or captions below zero"),
        (replace_column("average_precision", [0.5, float("nan")]), r"shares outside \[0, 1\]"),
        (replace_column("average_precision", [0.5, 1.5]), r"shares outside \[0, 1\]"),
    ],
)
def test_a_damaged_file_is_one_line(spoil: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "queries.parquet"
    write_queries(path, [(LABEL, make_table([1, 2], [1, 2]))])
    spoil(path)
    with pytest.raises(DataError, match=rf"queries.parquet: not the queries of an evaluation \(.*{reason}"):
        read_queries(path)
