import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.evaluation.toy_world import ProductSystem, TableSystem, make_corpus, make_evaluator
from tpr.config.schema import Choice
from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError, DataError
from tpr.evaluation import retrieval_metrics
from tpr.evaluation.protocols.text import TextRetrieval
from tpr.evaluation.query_results import Metrics
from tpr.evaluation.rows import SELECTED_ON_TEST, Row


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path)


def text_options(*directions: str) -> dict[str, object]:
    return {"text": TextRetrieval.Options(directions=directions)}  # type: ignore[arg-type]


def check_row(row: Row, expected: Metrics) -> None:
    """The row holds the numbers that the public function gives."""
    assert row.measures == {name: getattr(expected, name) for name in ("r1", "r5", "r10", "map", "minp")}
    assert row.facts == {"queries": expected.queries, "unmatched": expected.unmatched}


def make_tables(corpus: Corpus, seed: int = 0) -> TableSystem:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(len(corpus), 6, generator=generator)
    texts = torch.randn(corpus.caption_count, 6, generator=generator)
    return TableSystem(images, texts)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_embedding_keeps_order_for_any_batch(corpus: Corpus, tmp_path: Path, batch: int) -> None:
    system = make_tables(corpus)
    embedder = make_evaluator(tmp_path, corpus, batch=batch).make_embedder(system, corpus)
    for side in ("image", "text"):
        features = embedder.embed(side)
        assert features.dtype == torch.float32
        assert torch.equal(features, system.tables[side])


def test_embedding_of_chosen_rows_follows_their_order(corpus: Corpus, tmp_path: Path) -> None:
    system = make_tables(corpus)
    embedder = make_evaluator(tmp_path, corpus).make_embedder(system, corpus)
    rows = np.array([7, 0, 7, 12, 3])
    assert torch.equal(embedder.embed("image", rows), system.tables["image"][rows])
    assert torch.equal(embedder.embed("text", rows), system.tables["text"][rows])


def test_modules_are_in_evaluation_and_then_as_before(corpus: Corpus, tmp_path: Path) -> None:
    system = make_tables(corpus)
    system.train()
    system.frozen.eval()
    make_evaluator(tmp_path, corpus).evaluate(system, "test")
    assert system.training and not system.frozen.training and not any(system.modes)
    system.frozen.train()
    with pytest.raises(IndexError):
        make_evaluator(tmp_path, corpus).evaluate(TableSystem(torch.zeros(1, 2), torch.zeros(1, 2)), "test")
    make_evaluator(tmp_path, corpus).evaluate(system, "test")
    assert system.frozen.training and not any(system.modes)


def test_rows_equal_the_metrics_of_the_features(tmp_path: Path) -> None:
    first, second = make_corpus(tmp_path, "a"), make_corpus(tmp_path, "bb", images=9, identities=3)
    system = make_tables(first)
    directions = ("text_to_image", "image_to_text")
    results = make_evaluator(tmp_path, first, second, protocols=text_options(*directions)).evaluate(
        system, "test"
    )
    assert [(row.name, row.direction) for row in results.rows] == [
        (name, direction) for name in ("a", "bb") for direction in directions
    ]
    for row, corpus in zip(results.rows, (first, first, second, second), strict=True):
        images, texts = system.tables["image"][: len(corpus)], system.tables["text"][: corpus.caption_count]
        sides = {
            "image": (images, corpus.identity),
            "text": (texts, corpus.identity[corpus.caption_owners()]),
        }
        query, gallery = ("text", "image") if row.direction == "text_to_image" else ("image", "text")
        expected = retrieval_metrics(sides[query][0], sides[gallery][0], sides[query][1], sides[gallery][1])
        check_row(row, expected)
    assert results.mark == ""


def test_score_is_the_mean_of_text_to_image(tmp_path: Path) -> None:
    corpora = make_corpus(tmp_path, "a"), make_corpus(tmp_path, "bb", images=9, identities=3)
    evaluator = make_evaluator(tmp_path, *corpora, protocols=text_options("image_to_text", "text_to_image"))
    results = evaluator.evaluate(make_tables(corpora[0]), "test")
    assert evaluator.score(results) == (results.rows[1].measures["r1"] + results.rows[3].measures["r1"]) / 2


def test_a_set_that_is_trained_on_decides_the_score(tmp_path: Path) -> None:
    corpora = make_corpus(tmp_path, "a"), make_corpus(tmp_path, "bb", images=9, identities=3)
    evaluator = make_evaluator(tmp_path, *corpora)
    data = replace(evaluator.experiment.data, train=(Choice("bb", None),))
    evaluator.experiment = replace(evaluator.experiment, data=data)
    results = evaluator.evaluate(make_tables(corpora[0]), "test")
    assert results.rows[0].measures["r1"] != results.rows[1].measures["r1"]
    assert evaluator.score(results) == results.rows[1].measures["r1"]


def test_selection_on_test_is_marked(corpus: Corpus, tmp_path: Path) -> None:
    evaluator = make_evaluator(tmp_path, corpus, val=True, select_on="test")
    assert evaluator.evaluate(make_tables(corpus), "test").mark == SELECTED_ON_TEST
    assert evaluator.evaluate(make_tables(corpus), "val").mark == ""


def test_a_collapsed_model_keeps_its_numbers_and_gets_a_note(corpus: Corpus, tmp_path: Path) -> None:
    system = TableSystem(torch.ones(len(corpus), 6), torch.ones(corpus.caption_count, 6))
    (row,) = make_evaluator(tmp_path, corpus).evaluate(system, "test").rows
    images, texts = corpus.identity, corpus.identity[corpus.caption_owners()]
    sides = (system.tables["text"], system.tables["image"])
    check_row(row, retrieval_metrics(*sides, texts, images))
    assert row.ties is not None
    # Three of 13 images show the person of most captions: R@1 of chance is their share.
    chance = 100 * np.mean([(images == person).mean() for person in texts])
    assert row.ties.expected["r1"] == pytest.approx(chance)
    assert row.ties.share == pytest.approx(100 - chance)
    (untied,) = make_evaluator(tmp_path, corpus).evaluate(make_tables(corpus), "test").rows
    assert untied.ties is None


def test_intervals_hold_the_mean(corpus: Corpus, tmp_path: Path) -> None:
    results = make_evaluator(tmp_path, corpus, intervals=True).evaluate(make_tables(corpus), "test")
    intervals = results.rows[0].intervals
    measures = results.rows[0].measures
    assert list(intervals) == list(measures)
    assert all(low <= measures[name] <= high for name, (low, high) in intervals.items())


def test_a_missing_split_and_a_set_without_matches_are_named(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="this run has no val split; set evaluation.select_on to last or test"
    ):
        make_evaluator(tmp_path, corpus).evaluate(make_tables(corpus), "val")
    with pytest.raises(DataError, match="this run has no test split; name one in data.test"):
        make_evaluator(tmp_path).evaluate(make_tables(corpus), "test")
    mute = replace(corpus, caption_offsets=np.zeros(14, dtype=np.int64))
    with pytest.raises(DataError, match="toy: no image of the test split has a caption to search with"):
        make_evaluator(tmp_path, mute).evaluate(make_tables(corpus), "test")


def test_rankings_show_the_ten_best_of_queries_spread_over_the_set(corpus: Corpus, tmp_path: Path) -> None:
    system = make_tables(corpus)
    rankings = make_evaluator(tmp_path, corpus).list_examples(system, "toy", queries=4)
    images, texts = (torch.nn.functional.normalize(system.tables[side], dim=1) for side in ("image", "text"))
    assert [ranking.caption for ranking in rankings] == [corpus.captions(row)[0] for row in (0, 4, 8, 12)]
    for ranking, row in zip(rankings, (0, 4, 8, 12), strict=True):
        scores = images @ texts[corpus.caption_offsets[row]]
        order = scores.argsort(descending=True)[:10]
        assert ranking.rows.tolist() == order.tolist()
        assert ranking.scores.tolist() == pytest.approx(scores[order].tolist(), abs=1e-6)
        assert ranking.hits.tolist() == (corpus.identity[order] == row % 5).tolist()
        assert ranking.identity == row % 5


def test_more_queries_than_images_and_small_galleries_are_fine(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "few", images=3, identities=2)
    rankings = make_evaluator(tmp_path, corpus).list_examples(ProductSystem(), "few", queries=8)
    assert [len(ranking.rows) for ranking in rankings] == [3, 3, 3]


def test_images_of_people_nobody_describes_are_counted_once_in_the_log(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Only the last image keeps its caption: images 2, 7 and 12 show its person, ten others do not.
    offsets = np.r_[np.zeros(13, dtype=np.int64), 1]
    captions = pa.array([*[[]] * 12, ["one"]], pa.list_(pa.string()))
    table = corpus.table.set_column(1, "captions", captions)
    few = replace(corpus, caption_offsets=offsets, table=table, fingerprint="few", files=())
    evaluator = make_evaluator(tmp_path, few, protocols=text_options("image_to_text"))
    with caplog.at_level(logging.WARNING):
        (row,) = evaluator.evaluate(make_tables(few), "test").rows
    assert (row.facts["queries"], row.facts["unmatched"], row.measures["r1"]) == (3, 10, 100)
    assert caplog.messages == [
        "toy, image to text: 10 of 13 queries have no match in the gallery and are left out"
    ]


def test_another_measure_may_select_the_epoch(corpus: Corpus, tmp_path: Path) -> None:
    system = make_tables(corpus)
    by_map = make_evaluator(tmp_path, corpus, select_by="map")
    results = by_map.evaluate(system, "test")
    assert by_map.score(results) == results.rows[0].measures["map"] != results.rows[0].measures["r1"]
    with pytest.raises(
        ConfigError, match=r"select_by=r20 is not measured on toy; its protocol 'text' measures r1"
    ):
        make_evaluator(tmp_path, corpus, select_by="r20").check(system)
    with pytest.raises(ConfigError, match="select_by='rank' is no measure; known: r1, r5"):
        make_evaluator(tmp_path, corpus, select_by="rank")
