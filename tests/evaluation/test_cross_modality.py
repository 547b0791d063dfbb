import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.toy_world import PairSystem, make_corpus, make_evaluator, make_pairs
from tests.marks import slow_except
from tpr.data.images.chains import CLIP_CHAIN
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import iterate_images
from tpr.data.samples.modality_tests import list_identity_captions
from tpr.data.tables.corpus import Corpus
from tpr.data.text.tokens import tokenize
from tpr.errors import ConfigError, DataError
from tpr.evaluation.evaluator import Evaluator
from tpr.evaluation.protocols.visible_infrared import TEXT_NOTES, VisibleInfrared, list_searches
from tpr.evaluation.rows import Results
from tpr.report.result_table import draw_table
from tpr.systems.base import Side

KINDS = ("infrared", "text", "fused", "ensemble")
DIRECTIONS = ("infrared_to_visible", "visible_to_infrared", "sampled_infrared_to_visible")
IMAGES_ALONE = ("image", "infrared")


def make(folder: Path, *corpora: Corpus, val: bool = False, **options: Any) -> Evaluator:
    chosen = VisibleInfrared.Options(**{"trials": 2} | options)
    return make_evaluator(folder, *corpora, val=val, protocols={"visible_infrared": chosen})


def options_of(evaluator: Evaluator) -> VisibleInfrared.Options:
    options: VisibleInfrared.Options = evaluator.experiment.evaluation.protocols["visible_infrared"]
    return options


def evaluate(folder: Path, corpus: Corpus, system: PairSystem | None = None, **options: Any) -> Results:
    return make(folder, corpus, **options).evaluate(system or PairSystem(), "test")


def encode_all(corpus: Corpus, evaluator: Evaluator, texts: Sequence[str | None], kind: str) -> Tensor:
    """Features of every image at once: visible ones as images, infrared ones as this kind of query.

    In float64, so that rounding does not depend on the size of the batch.
    """
    batch = next(
        iterate_images(
            corpus, evaluator.experiment.data, batch=999, workers=0, device="cpu", chain=CLIP_CHAIN
        )
    )
    own = [corpus.captions(row)[0] for row in range(len(corpus))]
    given = [text or "" for text in texts]
    whole = Batch(images=batch["images"], infrared_images=batch["images"], tokens=tokenize(given))
    if options_of(evaluator).text == "oracle":
        whole["infrared_tokens"] = tokenize(own)
    system = PairSystem().double()
    infrared = torch.from_numpy(corpus.infrared())[:, None]
    with torch.no_grad():
        features = torch.where(infrared, system.encode(whole, kind), system.encode(whole, "image"))
    return features.float().double()


def rank_plainly(
    corpus: Corpus, scores: Tensor, queries: Sequence[int], gallery: Sequence[int]
) -> list[float]:
    """Slow twin: a sorted list per query, and the rules in words."""
    values, cameras = [], corpus.cameras()
    for query in queries:
        kept = []
        for item in gallery:
            pair = {int(cameras[query]), int(cameras[item])}
            is_same = corpus.identity[query] == corpus.identity[item]
            same_room = corpus.task.rules == "sysu" and pair == {2, 3}
            same_view = corpus.task.rules == "llcm" and is_same and len(pair) == 1
            if not same_room and not same_view:
                kept.append(item)
        listed = [int(corpus.identity[item]) for item in sorted(kept, key=lambda item: -scores[query, item])]
        wanted = int(corpus.identity[query])
        ranks = [place for place, person in enumerate(listed, 1) if person == wanted]
        if not ranks:
            continue
        order = listed if corpus.task.rules == "regdb" else list(dict.fromkeys(listed))
        first = order.index(wanted) + 1
        precision = np.mean([found / rank for found, rank in enumerate(ranks, 1)])
        values.append([*(first <= k for k in (1, 5, 10, 20)), precision, len(ranks) / ranks[-1]])
    return (100 * np.mean(values, axis=0)).tolist()


@pytest.mark.parametrize("text", slow_except({"own"}, ["own", "oracle"]))
@pytest.mark.parametrize("protocol", ["sysu", "regdb", "llcm"])
def test_every_row_agrees_with_plain_loops(tmp_path: Path, protocol: Any, text: Any) -> None:
    corpus = make_pairs(tmp_path, protocol)
    evaluator = make(tmp_path, corpus, text=text, directions=DIRECTIONS)
    results = evaluator.evaluate(PairSystem().double(), "test")
    options = options_of(evaluator)
    searches = list_searches(corpus, options)
    names = [("all", "indoor"), ("",)][protocol != "sysu"]
    directions = DIRECTIONS if protocol == "llcm" else DIRECTIONS[:2]
    assert [(row.title, row.direction, row.query.split()[0]) for row in results.rows] == [
        (f"pairs {name}".strip(), direction, kind)
        for name in names
        for direction in directions
        for kind in KINDS
    ]
    texts = draw_texts(corpus, text)
    for number, row in enumerate(results.rows):
        kind = KINDS[number % len(KINDS)]
        assert row.notes == (() if kind == "infrared" else (TEXT_NOTES[text],))
        assert row.query == (f"{kind} (ORACLE)" if row.notes and text == "oracle" else kind)
        features = encode_all(corpus, evaluator, texts, kind)
        search = searches[number // len(KINDS)].search
        assert row.facts["trials"] == len(search.trials) == (1 if protocol == "regdb" else 2)
        found = [
            rank_plainly(corpus, features @ features.T, trial.queries.tolist(), trial.gallery.tolist())
            for trial in search.trials
        ]
        assert list(row.measures) == ["r1", "r5", "r10", "r20", "map", "minp"]
        assert list(row.measures.values()) == pytest.approx(np.mean(found, axis=0).tolist(), abs=1e-9)
        if len(found) == 1:
            assert not row.deviations
        else:
            spread = np.std(found, axis=0, ddof=1).tolist()
            assert list(row.deviations.values()) == pytest.approx(spread, abs=1e-9)


def draw_texts(corpus: Corpus, text: str) -> list[str | None]:
    """The text of every infrared image, drawn in the order of the rows, which is the protocol's here."""
    captions = [caption for row in range(len(corpus)) for caption in corpus.captions(row)]
    pools, generator = list_identity_captions(corpus), np.random.RandomState(1)
    texts: list[str | None] = [None] * len(corpus)
    for row in np.flatnonzero(corpus.infrared()).tolist():
        pool = pools[int(corpus.identity[row])]
        texts[row] = corpus.captions(row)[0] if text == "own" else captions[pool[generator.choice(len(pool))]]
    return texts


def test_every_image_is_embedded_once_for_all_searches_and_kinds(tmp_path: Path) -> None:
    system = PairSystem()
    evaluate(tmp_path, make_pairs(tmp_path), system, trials=9, directions=DIRECTIONS[:2])
    assert len(system.seen) == len(set(system.seen)) == 60
    assert set(system.asked) == {("image",), KINDS}


def test_images_that_no_gallery_holds_are_not_embedded(tmp_path: Path) -> None:
    system = PairSystem()
    evaluate(tmp_path, make_pairs(tmp_path), system, trials=1, sysu=("indoor",), queries=("infrared",))
    # Five people: four infrared images each, and one of two visible ones of cameras 1 and 2.
    assert len(system.seen) == 5 * (4 + 2)


def test_a_system_of_images_needs_no_captions(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path, captions=False)
    results = evaluate(tmp_path, corpus, PairSystem(IMAGES_ALONE))
    assert [row.query for row in results.rows] == ["infrared", "infrared"]
    assert "text" not in draw_table(results)


@pytest.mark.parametrize("text", ["own", "oracle"])
def test_a_system_of_texts_searches_by_text_under_the_note(tmp_path: Path, text: Any) -> None:
    system = PairSystem(("image", "text"))
    results = evaluate(tmp_path, make_pairs(tmp_path), system, text=text)
    assert [row.query for row in results.rows] == [{"own": "text", "oracle": "text (ORACLE)"}[text]] * 2
    assert draw_table(results).endswith(f"({TEXT_NOTES[text]})")
    # No infrared image is read, and the numbers are those of a system that reads them as well.
    assert set(system.asked) == {("image",), ("text",)}
    whole = evaluate(tmp_path, make_pairs(tmp_path), text=text)
    assert [row.measures for row in results.rows] == [
        row.measures for row in whole.rows if row.query.startswith("text")
    ]


def test_oracle_text_is_another_and_follows_its_seed(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    found = [
        evaluate(tmp_path, corpus, queries=("text",), text=text, text_seed=seed).rows[0].measures
        for text, seed in (("own", 1), ("oracle", 1), ("oracle", 1), ("oracle", 2))
    ]
    assert found[1] == found[2]
    assert found[0] != found[1] != found[3]


def test_a_system_says_what_it_cannot_encode(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the system cannot encode 'fused'; it can encode infrared"):
        evaluate(tmp_path, make_pairs(tmp_path), PairSystem(IMAGES_ALONE), queries=("infrared", "fused"))


def test_missing_texts_and_images_are_named_in_one_line(tmp_path: Path) -> None:
    mute = make_pairs(tmp_path, captions=False)
    with pytest.raises(DataError, match=r"20 of 20 infrared images have no caption .* is pairs/ir3/"):
        evaluate(tmp_path, mute)
    with pytest.raises(DataError, match=r"no visible image of person 10 has a caption .*\(5 such people\)"):
        evaluate(tmp_path, mute, text="oracle")
    corpus = make_pairs(tmp_path)
    visible = corpus.select(np.flatnonzero(~corpus.infrared()))
    with pytest.raises(DataError, match="pairs: the test split has no infrared image; its protocol needs"):
        evaluate(tmp_path, visible)
    outdoor = corpus.select(np.flatnonzero(~np.isin(corpus.cameras(), (1, 2))))
    with pytest.raises(DataError, match="no visible image of cameras 1, 2; its protocol needs them"):
        evaluate(tmp_path, outdoor)


def test_queries_whose_person_no_gallery_shows_are_named_if_all_are(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path, "regdb")
    strangers = replace(corpus, identity=corpus.identity + 100 * corpus.infrared())
    with pytest.raises(DataError, match="pairs, infrared to visible: none of 20 queries has a match"):
        evaluate(tmp_path, strangers, queries=("infrared",))


def test_a_direction_that_no_set_has_is_refused(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path, "regdb")
    with pytest.raises(ConfigError, match="leaves nothing to measure on pairs; add infrared_to_visible"):
        evaluate(tmp_path, corpus, directions=("sampled_infrared_to_visible",))


def test_the_last_kind_of_the_first_search_selects_the_epoch(tmp_path: Path) -> None:
    evaluator = make(tmp_path, make_pairs(tmp_path, people=9), val=True)
    results = evaluator.evaluate(PairSystem(), "val")
    assert [row.title for row in results.rows] == ["pairs all"] * 4 + ["pairs indoor"] * 4
    scores = [row.measures["r1"] for row in results.rows]
    assert evaluator.score(results) == scores[3]
    assert scores.count(scores[3]) == 1
    alone = evaluator.evaluate(PairSystem(IMAGES_ALONE), "val")
    assert evaluator.score(alone) == alone.rows[0].measures["r1"]


def test_sets_of_captions_stand_in_the_same_table(tmp_path: Path) -> None:
    corpora = make_corpus(tmp_path, "a"), make_pairs(tmp_path), make_corpus(tmp_path, "bb")
    evaluator = make(tmp_path, *corpora)
    results = evaluator.evaluate(PairSystem(), "test")
    (mean,) = results.list_means()
    assert (mean.measures["r1"], mean.direction) == (
        (results.rows[0].measures["r1"] + results.rows[-1].measures["r1"]) / 2,
        "text_to_image",
    )
    lines = draw_table(results).splitlines()
    assert any(line.startswith("| a            | text to image       |") for line in lines)
    assert evaluator.score(results) == pytest.approx(
        np.mean([results.rows[number].measures["r1"] for number in (0, -1, 4)])
    )


def test_rankings_show_the_image_that_searched_and_its_text(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path)
    system = PairSystem().double()
    for text in ("own", "oracle"):
        evaluator = make(tmp_path, corpus, text=text, directions=("infrared_to_visible",))
        (search, _) = list_searches(corpus, options_of(evaluator))
        trial, texts = search.search.trials[0], draw_texts(corpus, text)
        features = encode_all(corpus, evaluator, texts, "ensemble")
        rankings = evaluator.list_examples(system, "pairs", queries=3, top=4)
        assert [ranking.query for ranking in rankings] == trial.queries[[0, 10, 19]].tolist()
        for ranking in rankings:
            query = ranking.query
            assert query is not None
            prefix = "ORACLE: " if text == "oracle" else ""
            assert ranking.caption == f"{prefix}{texts[query]}"
            dropped = {2} if corpus.cameras()[query] == 3 else set()
            kept = [row for row in trial.gallery.tolist() if corpus.cameras()[row] not in dropped]
            best = sorted(kept, key=lambda row: -float(features[query] @ features[row]))[:4]
            assert ranking.rows.tolist() == best
            assert ranking.hits.tolist() == (corpus.identity[best] == ranking.identity).tolist()
    alone = make(tmp_path, corpus, queries=("infrared",)).list_examples(system, "pairs", queries=2)
    assert [ranking.caption for ranking in alone] == ["", ""]


def test_no_line_is_logged_about_queries_that_the_protocol_drops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = make_pairs(tmp_path)
    # Nobody but camera 2 sees the first person, whom camera 3 may then not find.
    rows = np.flatnonzero(corpus.infrared() | (corpus.cameras() == 2) | (corpus.identity > 10))
    with caplog.at_level(logging.WARNING):
        results = evaluate(tmp_path, corpus.select(rows), queries=("infrared",), sysu=("all",))
    assert caplog.messages == []
    facts = results.rows[0].facts
    assert (facts["queries"], facts["unmatched"]) == (18, 2)


class FlatSystem(PairSystem):
    """Sees no difference between any two images or texts."""

    def encode(self, batch: Batch, side: Side) -> Tensor:
        return torch.ones_like(super().encode(batch, side))


def test_a_collapsed_model_is_told_of_in_every_row_with_what_chance_gives(tmp_path: Path) -> None:
    corpus = make_pairs(tmp_path, people=7)
    results = evaluate(tmp_path, corpus, FlatSystem(IMAGES_ALONE))
    for row in results.rows:
        # Each of seven persons has as many images as the others, apart from cameras of the same room.
        assert row.ties is not None and row.ties.share > 75
        assert row.ties.expected["r1"] == pytest.approx(100 / 7, abs=1.5)
        assert row.ties.expected["r5"] == pytest.approx(500 / 7, abs=4)
    assert len(results.list_marks()) == len(results.rows)
