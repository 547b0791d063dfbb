"""Named splits in, results out: what a run measures during training and at its end."""

import logging
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tpr.config.schema import Experiment
from tpr.data.tables.corpora import Corpora
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.engine.precision import Precision
from tpr.errors import DataError
from tpr.evaluation.cross_modality import check_modalities, measure_modalities, rank_examples
from tpr.evaluation.embed import Embedder
from tpr.evaluation.intervals import bootstrap_intervals
from tpr.evaluation.metrics import MEASURES, QueryResults, concatenate, rank_queries, summarise
from tpr.evaluation.rankings import Ranking, spread_queries
from tpr.evaluation.results import SELECTED_ON_TEST, Direction, Results, Row
from tpr.evaluation.shards import cut_queries, share_parts
from tpr.evaluation.tie_note import find_ties
from tpr.systems.base import Side, System

logger = logging.getLogger(__name__)


class Evaluator:
    """Measures a system on the validation or test sets of a run, on all ranks together."""

    def __init__(
        self, experiment: Experiment, corpora: Corpora, *, device: torch.device, precision: Precision
    ) -> None:
        self.experiment = experiment
        self.corpora = corpora
        self.device = device
        self.precision = precision

    def check(self, system: System) -> None:
        """Raise, before anything is trained, what `evaluate` would raise on visible-infrared sets."""
        for corpus in (*self.corpora.val.values(), *self.corpora.test.values()):
            if corpus.protocol != "text":
                check_modalities(system, corpus, self.experiment.evaluation.visible_infrared)

    def evaluate(self, system: System, which: Literal["val", "test"]) -> Results:
        """Every set of one kind in every asked direction. Every rank must call it and gets the same.

        Raises DataError where there is no such set, or one without captions.
        """
        rows = []
        for name, corpus in self.get_sets(which).items():
            if corpus.protocol != "text":
                options = self.experiment.evaluation.visible_infrared
                rows += measure_modalities(self.make_embedder(system, corpus), options)
                continue
            if not corpus.caption_count:
                raise DataError(f"{name}: no image of the {which} split has a caption to search with")
            features = {side: self.embed(system, corpus, side) for side in ("image", "text")}
            for direction in self.experiment.evaluation.directions:
                rows.append(self.measure(name, corpus, direction, features))
        is_optimistic = which == "test" and self.experiment.evaluation.select_on == "test"
        return Results(tuple(rows), SELECTED_ON_TEST if is_optimistic else "")

    def measure(self, name: str, corpus: Corpus, direction: Direction, features: Mapping[str, Tensor]) -> Row:
        """One row of the table from the features of both sides."""
        identity = {"image": corpus.identity, "text": corpus.identity[corpus.caption_owners()]}
        query, gallery = ("text", "image") if direction == "text_to_image" else ("image", "text")
        results = rank_in_shards(features[query], features[gallery], identity[query], identity[gallery])
        metrics = summarise(results, f"{name}, {direction.replace('_', ' ')}")
        intervals = bootstrap_intervals(results) if self.experiment.evaluation.intervals else None
        return Row(name, direction, metrics, intervals, ties=find_ties([results], MEASURES))

    def score(self, results: Results) -> float:
        """The number that selects the best epoch: R@1 of the rows that decide, averaged over sets.

        Sets that are trained on decide where there are any, as in the published fine-tuning tables, which
        add others to look at transfer.
        """
        chosen = results.list_deciding()
        trained = {choice.name for choice in self.experiment.data.train}
        chosen = [row for row in chosen if row.name in trained] or chosen
        return sum(row.metrics.r1 for row in chosen) / len(chosen)

    def rankings(self, system: System, name: str, queries: int, top: int = 10) -> list[Ranking]:
        """The best images of a test set for captions spread evenly over it, the first of each image.

        Not the best or worst queries: what a reader sees is a fair sample. Every rank must call it.
        Visible-infrared sets are searched as by their last kind of query.
        """
        corpus = self.get_sets("test")[name]
        if corpus.protocol != "text":
            options = self.experiment.evaluation.visible_infrared
            return rank_examples(self.make_embedder(system, corpus), options, queries, top)
        described = np.flatnonzero(np.diff(corpus.caption_offsets))
        chosen = described[spread_queries(len(described), queries)]
        images = self.embed(system, corpus, "image")
        captions = corpus.caption_offsets[chosen]
        texts = self.embed(system, corpus, "text", indices=captions)
        scores = torch.nn.functional.normalize(texts, dim=1) @ torch.nn.functional.normalize(images, dim=1).T
        best = torch.sort(scores, dim=1, descending=True, stable=True)
        rows, values = best.indices[:, :top].cpu().numpy(), best.values[:, :top].cpu().numpy()
        identity = corpus.identity
        return [
            Ranking(
                corpus.captions(int(row))[0],
                int(identity[row]),
                found,
                score,
                identity[found] == identity[row],
            )
            for row, found, score in zip(chosen, rows, values, strict=True)
        ]

    def embed(
        self,
        system: System,
        corpus: Corpus,
        side: Side,
        *,
        indices: IndexArray | None = None,
    ) -> Tensor:
        """Features of one side of a corpus with this run's options."""
        return self.make_embedder(system, corpus).embed(side, indices)

    def make_embedder(self, system: System, corpus: Corpus) -> Embedder:
        """What embeds a corpus with this run's options."""
        return Embedder(
            system,
            corpus,
            self.experiment.data,
            batch=self.experiment.evaluation.batch,
            device=self.device,
            autocast=self.precision.autocast,
            workers=self.experiment.runtime.workers,
            start=self.experiment.runtime.start,
        )

    def get_sets(self, which: Literal["val", "test"]) -> Mapping[str, Corpus]:
        """Corpora of one kind by name. Raises DataError where there is none."""
        sets = self.corpora.val if which == "val" else self.corpora.test
        if not sets:
            remedy = (
                "name one in data.test" if which == "test" else "set evaluation.select_on to last or test"
            )
            raise DataError(f"nothing to evaluate: this run has no {which} split; {remedy}")
        return sets


def rank_in_shards(
    queries: Tensor, gallery: Tensor, query_identity: IndexArray, gallery_identity: IndexArray
) -> QueryResults:
    """`rank_queries` with shards of queries in turn on every rank; all rows, in order, on each."""
    shards = cut_queries(len(queries))

    def measure(number: int) -> QueryResults:
        shard = shards[number]
        return rank_queries(queries[shard], gallery, query_identity[shard], gallery_identity)

    return concatenate(share_parts(len(shards), measure))
