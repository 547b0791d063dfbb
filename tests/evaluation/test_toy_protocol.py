"""A protocol that searches nothing enters by its file and its table line: attributes of a person, guessed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.toy_world import CPU, SETTING, make_corpus, make_evaluator
from tpr.config.measures import MEASURES, Measure
from tpr.config.options import describe_options
from tpr.config.schema import DataOptions, Experiment
from tpr.config.typed import build_experiment
from tpr.data.samples.batch import Batch
from tpr.data.samples.loader import TrainLoader
from tpr.data.samples.sample import DatasetTask
from tpr.data.samples.views import NOT_AUGMENTED, Views
from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError
from tpr.evaluation.embed import Embedder, Encoder
from tpr.evaluation.protocols import PROTOCOLS, Protocol
from tpr.evaluation.rankings import Ranking
from tpr.evaluation.rows import Row
from tpr.report.result_table import draw_table
from tpr.systems import TABLES
from tpr.systems.base import Side, System


class Attributes(Protocol):
    """Mean accuracy of attributes: half the sum of the shares of right positives and right negatives."""

    name = "attributes"
    measures = ("ma",)
    selects = "ma"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """How attributes are measured."""

        unknown: Literal["negative", "ignore"] = "ignore"
        """What a label that nobody knows counts as."""

    def check(self, encoder: Encoder, corpus: Corpus) -> None:
        """Nothing to refuse."""

    def measure(self, embedder: Embedder, *, intervals: bool) -> list[Row]:
        """One row."""
        labels = np.array(embedder.corpus.table.column("attributes").to_pylist())
        guessed = embedder.embed("image").numpy() > 0
        shares = [[(guessed[labels == value] == value).mean()] for value in (0, 1)]
        name, measures = embedder.corpus.name, {"ma": 100 * float(np.mean(shares))}
        return [Row(name=name, protocol=self.name, measures=measures, facts={"images": len(labels)})]

    def list_examples(self, embedder: Embedder, queries: int, top: int) -> list[Ranking]:
        """None."""
        return []


class Guesser(System):
    """One product of the pixels; a score per attribute."""

    def __init__(self) -> None:
        super().__init__(SETTING)
        self.head = nn.Linear(3 * 8 * 4, 2)

    def views(self) -> Views:
        return Views(kind="labelled", attributes=True)

    def encode(self, batch: Batch, side: Side) -> Tensor:
        scores: Tensor = self.head(batch["images"].flatten(1))
        return scores


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Images with two attributes each that nothing describes."""
    corpus = make_corpus(tmp_path, images=24, identities=4)
    rng = np.random.default_rng(0)
    labels = pa.array(rng.integers(0, 2, (24, 2)).tolist(), pa.list_(pa.int8()))
    nothing = pa.array([[]] * 24, pa.list_(pa.string()))
    table = corpus.table.set_column(1, "captions", nothing).append_column("attributes", labels)
    task = DatasetTask("attributes", needs_captions=False)
    offsets = np.zeros(25, dtype=np.int64)
    return replace(corpus, table=table, task=task, caption_offsets=offsets, split="train", fingerprint="toy")


@pytest.fixture(autouse=True)
def table_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEASURES, "ma", Measure("mA"))
    monkeypatch.setitem(PROTOCOLS, "attributes", Attributes)
    monkeypatch.setitem(TABLES["protocol"], "attributes", Attributes.Options)


def test_labelled_images_train_and_the_protocol_measures_them(tmp_path: Path, corpus: Corpus) -> None:
    torch.manual_seed(0)
    system = Guesser()
    data = DataOptions(
        root=tmp_path, cache=tmp_path / "cache", image_size=(8, 4), batch=8, augment=NOT_AUGMENTED
    )
    loader = TrainLoader(corpus, data, system.views(), seed=1, workers=0, sampler="shuffled", device=CPU)
    optimizer = torch.optim.Adam(system.parameters(), lr=0.03)
    evaluator = make_evaluator(tmp_path, corpus)
    before = evaluator.score(evaluator.evaluate(system, "test"))
    assert len(loader) == 3
    for epoch in range(1, 40):
        for batch in loader.epoch(epoch):
            assert "tokens" not in batch and batch["attributes"].shape == (8, 2)
            loss = nn.functional.binary_cross_entropy_with_logits(
                system.encode(batch, "image"), batch["attributes"].float()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    results = evaluator.evaluate(system, "test")
    assert evaluator.score(results) == results.rows[0].measures["ma"] > max(90, before)
    assert draw_table(results).splitlines()[1].split("|")[1:-1] == [" dataset ", "     mA "]


def test_its_options_are_a_group_of_its_name(tmp_path: Path) -> None:
    tree = {"system": "irra", "model": "clip", "evaluation": {"attributes": {"unknown": "negative"}}}
    experiment = build_experiment(tree, TABLES)
    assert experiment.evaluation.protocols["attributes"] == Attributes.Options(unknown="negative")
    names = [row.name for row in describe_options(Experiment, TABLES)]
    assert "evaluation.attributes.unknown" in names
    with pytest.raises(ConfigError, match=r"evaluation\.attributes\.unknown: .*'negativ'"):
        build_experiment(tree | {"evaluation": {"attributes": {"unknown": "negativ"}}}, TABLES)
