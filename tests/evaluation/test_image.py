"""Protocol `image`, on a toy split with and without roles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.evaluation.toy_world import TableSystem, make_corpus, make_evaluator
from tpr.data.samples.sample import DatasetTask
from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError, DataError
from tpr.evaluation.query_table import NO_CAPTION
from tpr.evaluation.rows import Row

TASK = DatasetTask("image", needs_captions=False)


def make(folder: Path, cameras: list[int], roles: list[str] | None = None) -> Corpus:
    corpus = make_corpus(folder, images=len(cameras), identities=3)
    table = corpus.table.append_column("camera", pa.array(cameras, pa.int16()))
    if roles is not None:
        table = table.append_column("role", pa.array(roles))
    return replace(corpus, table=table, task=TASK)


def measure(folder: Path, corpus: Corpus, images: torch.Tensor) -> Row:
    (row,) = make_evaluator(folder, corpus).evaluate(TableSystem(images, torch.zeros(1, 2)), "test").rows
    return row


def draw(count: int) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(0))


def rank_plainly(
    corpus: Corpus, images: torch.Tensor, queries: list[int], gallery: list[int]
) -> tuple[float, float]:
    """R@1 and mAP by a sorted list per query."""
    unit = torch.nn.functional.normalize(images.double(), dim=1)
    identity, cameras, first, precision = corpus.identity, corpus.cameras(), [], []
    for query in queries:
        kept = [
            item
            for item in gallery
            if item != query
            and not (identity[item] == identity[query] and cameras[item] == cameras[query] >= 0)
        ]
        order = sorted(kept, key=lambda item: -float(unit[query] @ unit[item]))
        ranks = [place for place, item in enumerate(order, 1) if identity[item] == identity[query]]
        if ranks:
            first.append(ranks[0] == 1)
            precision.append(np.mean([found / rank for found, rank in enumerate(ranks, 1)]))
    return 100 * float(np.mean(first)), 100 * float(np.mean(precision))


def test_queries_search_the_gallery_of_other_cameras(tmp_path: Path) -> None:
    roles = ["query", "gallery", "gallery"] * 4 + ["gallery"]
    corpus = make(tmp_path, [1, 1, 2, 2, 1, 1, 2, 1, 1, 2, 2, 1, 2], roles)
    row = measure(tmp_path, corpus, draw(13))
    gallery = [number for number, role in enumerate(roles) if role == "gallery"]
    wanted = rank_plainly(corpus, draw(13), [0, 3, 6, 9], gallery)
    assert (row.measures["r1"], row.measures["map"]) == pytest.approx(wanted)
    assert (row.direction, row.protocol, row.title) == ("image_to_image", "image", "toy")
    assert row.queries is not None
    assert row.queries.image.tolist() == [0, 3, 6, 9]
    assert set(row.queries.caption.tolist()) == {NO_CAPTION}


@pytest.mark.parametrize("cameras", [[1, 2, 1, 2, 1, 2, 1], [-1] * 7])
def test_without_roles_every_image_searches_for_the_others(tmp_path: Path, cameras: list[int]) -> None:
    corpus = make(tmp_path, cameras)
    row = measure(tmp_path, corpus, draw(7))
    wanted = rank_plainly(corpus, draw(7), list(range(7)), list(range(7)))
    assert (row.measures["r1"], row.measures["map"]) == pytest.approx(wanted)


def test_rankings_show_the_image_that_searched_and_nobody_of_its_camera(tmp_path: Path) -> None:
    corpus = make(tmp_path, [1, 1, 2, 2, 1, 1, 2])
    evaluator = make_evaluator(tmp_path, corpus)
    for ranking in evaluator.list_examples(TableSystem(draw(7), torch.zeros(1, 2)), "toy", queries=3):
        assert ranking.query is not None and ranking.query not in ranking.rows
        same = (corpus.identity == ranking.identity) & (corpus.cameras() == corpus.cameras()[ranking.query])
        assert not set(np.flatnonzero(same)) & set(ranking.rows.tolist())


class TextSystem(TableSystem):
    """Encodes no image."""

    def sides(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("text",)


def test_what_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    corpus = make(tmp_path, [1] * 3, ["gallery"] * 3)
    system = TableSystem(draw(3), torch.zeros(1, 2))
    with pytest.raises(DataError, match="toy: the test split has no query image"):
        make_evaluator(tmp_path, corpus).check(system)
    with pytest.raises(ConfigError, match="toy: the system encodes text, and images search here"):
        make_evaluator(tmp_path, corpus).check(TextSystem(draw(3), torch.zeros(1, 2)))
