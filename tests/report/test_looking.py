"""Which queries of an evaluation are hard: by caption length, word and attribute, and the worst ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluation.query_tables import LABEL, make_table
from tpr.data.samples.sample import Attribute, DatasetTask
from tpr.data.tables.corpus import Corpus, offsets_of
from tpr.errors import DataError
from tpr.evaluation.query_table import NO_CAPTION, QueryTable
from tpr.report.looking import look_at

CAPTIONS = [
    "Red coat.",
    "A man in a red-and-blue coat",
    "A woman, blue bag",
    "One in jeans and a long blue coat who walks",
]
ATTRIBUTES = [[1, 0], [1, 1], [1, 0], []]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Four images of two people with a caption each, three of them labelled."""
    table = pa.table(
        {
            "image": [f"toy/{number}.jpg" for number in range(4)],
            "captions": [[caption] for caption in CAPTIONS],
            "attributes": pa.array(ATTRIBUTES, pa.list_(pa.int8())),
        }
    )
    offsets = offsets_of(table.column("captions"))
    return Corpus("toy", "test", tmp_path, table, np.array([5, 5, 6, 6]), offsets, True, "toy")


def look(table: QueryTable, corpus: Corpus) -> list[str]:
    words = ["red", "blue", "green"]
    return look_at({LABEL: table}, {"toy": corpus}, words=words, worst=2, markdown=True).splitlines()


def test_every_part_has_its_queries_and_measures_and_the_worst_stand_first(corpus: Corpus) -> None:
    lines = look(make_table([1, 4, 1, 2], [5, 5, 6, 6]), corpus)
    assert lines == [
        "toy, text to image:",
        "",
        "| by | part | queries | R@1 | mAP |",
        "| :--- | :--- | ---: | ---: | ---: |",
        "| all |  | 4 | 50.00 | 68.75 |",
        "| caption length | 2 words | 1 | 100.00 | 100.00 |",
        "| caption length | 4 words | 1 | 100.00 | 100.00 |",
        "| caption length | 6 words | 1 | 0.00 | 25.00 |",
        "| caption length | 10 words | 1 | 0.00 | 50.00 |",
        "| word | blue | 2 | 50.00 | 75.00 |",
        "| word | red | 1 | 100.00 | 100.00 |",
        "| attribute | 0: 1 | 3 | 66.67 | 75.00 |",
        "| attribute | 1: 0 | 2 | 100.00 | 100.00 |",
        "| attribute | 1: 1 | 1 | 0.00 | 25.00 |",
        "",
        "toy, text to image: worst queries:",
        "",
        "| caption | image | first match | AP |",
        "| :--- | :--- | ---: | ---: |",
        "| A man in a red-and-blue coat | toy/1.jpg | 4 | 25.00 |",
        "| One in jeans and a long blue coat who walks | toy/3.jpg | 2 | 50.00 |",
    ]


def test_a_query_counts_once_over_its_trials_and_not_where_it_has_no_match(corpus: Corpus) -> None:
    lines = look(make_table([1, 4, 0, 2, 3, 4, 0, 1], [5, 5, 6, 6] * 2, trials=2), corpus)
    assert "| all |  | 3 | 33.33 | 55.56 |" in lines
    assert lines[-2].endswith("| toy/1.jpg | 4 | 25.00 |")
    assert lines[-1].endswith("| toy/0.jpg | 2 | 66.67 |")


def test_lengths_fall_into_four_parts(corpus: Corpus) -> None:
    many = corpus.select(np.tile(np.arange(4), 3))
    lengths = [line for line in look(make_table([1, 4, 1, 2] * 3, [5, 5, 6, 6] * 3), many) if "words" in line]
    assert [line.split(" | ")[1:3] for line in lengths] == [
        [f"{words} words", "3"] for words in (2, 4, 6, 10)
    ]
    varied = corpus.select(np.array([0, 1, 1, 1, 1, 1, 2, 3]))
    identity = varied.identity.tolist()
    lengths = [line for line in look(make_table([1] * 8, identity), varied) if "words" in line]
    assert [line.split(" | ")[1:3] for line in lengths] == [
        ["2 to 4 words", "2"],
        ["6 words", "5"],
        ["10 words", "1"],
    ]


def test_images_that_search_have_no_captions_to_look_at(corpus: Corpus) -> None:
    asked = make_table([1, 4, 1, 2], [5, 5, 6, 6])
    lines = look(replace(asked, caption=np.full(4, NO_CAPTION)), corpus)
    assert not any(line.startswith(("| word", "| caption length")) for line in lines)
    assert lines[-2] == "|  | toy/1.jpg | 4 | 25.00 |"


def test_text_tables_fold_long_captions(corpus: Corpus) -> None:
    text = look_at({LABEL: make_table([1, 4, 1, 2], [5, 5, 6, 6])}, {"toy": corpus})
    assert "toy, text to image: worst queries" in text
    assert "| A man in a red-and-blue coat " in text


@pytest.mark.parametrize(
    "table",
    [
        make_table([1, 1, 1, 1], [5, 5, 6, 7]),
        make_table([1] * 5, [5, 5, 6, 6, 6]),
        make_table([1] * 4, [5, 5, 6, 6], caption=1),
    ],
    ids=["other people", "more images", "more captions"],
)
def test_queries_of_other_data_are_one_line(table: QueryTable, corpus: Corpus) -> None:
    with pytest.raises(DataError, match="toy, text to image: the queries are not those of"):
        look(table, corpus)


def test_declared_attributes_have_their_names(corpus: Corpus) -> None:
    declared = (Attribute("gender", ("woman", "man")), Attribute("hat", ("none", "cap")))
    named = replace(corpus, task=DatasetTask(attributes=declared))
    lines = look(make_table([1, 4, 1, 2], [5, 5, 6, 6]), named)
    assert [line.split("|")[2].strip() for line in lines if line.startswith("| attribute")] == [
        "gender: man",
        "hat: none",
        "hat: cap",
    ]
    unknown = pa.array([[-1], [1], [1], [1]], pa.list_(pa.int8()))
    table = corpus.table.set_column(2, "attributes", unknown)
    assert "| attribute | gender: unknown | 1 |" in "\n".join(
        look(make_table([1, 4, 1, 2], [5, 5, 6, 6]), replace(named, table=table))
    )
