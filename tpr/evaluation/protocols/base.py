"""What a protocol defines: how test splits of one kind are measured."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.evaluation.embed import Embedder, Encoder
from tpr.evaluation.intervals import bootstrap_intervals
from tpr.evaluation.query_results import QueryResults, summarise_trials
from tpr.evaluation.query_table import Asked, QueryTable
from tpr.evaluation.rankings import Ranking
from tpr.evaluation.rows import Row
from tpr.evaluation.scores import Products
from tpr.evaluation.search import Encoded, Search
from tpr.evaluation.tie_note import find_ties


class Protocol(ABC):
    """Who searches whom on a test split, by which rules, and the rows of the table that this gives.

    Adapters name the protocol of their dataset (`Adapter.task`); every method is given the corpus.
    """

    Options: ClassVar[type[Any]]
    """Frozen dataclass: the group of the protocol's name below `evaluation`."""
    name: ClassVar[str]
    measures: ClassVar[tuple[str, ...]] = ("r1", "r5", "r10", "map", "minp")
    """What its rows hold, by names in `tpr.config.measures`."""
    selects: ClassVar[str] = "r1"
    """The measure that picks the best epoch unless `evaluation.select_by` names another."""

    tells_unmatched: ClassVar[bool] = True
    """Whether queries without a match are warned of."""

    def __init__(self, options: Any) -> None:
        """options: an instance of `Options`."""
        self.options = options

    @abstractmethod
    def check(self, encoder: Encoder, corpus: Corpus) -> None:
        """Raise, before anything is trained, what `measure` would raise."""

    @abstractmethod
    def measure(self, embedder: Embedder, *, intervals: bool) -> list[Row]:
        """The rows of a split. Every rank must call it and gets the same.

        intervals: whether to add 95 % bootstrap intervals where rows are no means over trials. Raises
        ConfigError for what the encoder cannot encode, DataError for what the split lacks.
        """

    @abstractmethod
    def list_examples(self, embedder: Embedder, queries: int, top: int) -> list[Ranking]:
        """The best results of queries spread evenly over a split, for looking at. Every rank must call it."""

    def make_row(
        self,
        corpus: Corpus,
        trials: Sequence[QueryResults],
        *,
        asked: Sequence[Asked] = (),
        intervals: bool = False,
        **labels: Any,
    ) -> Row:
        """A row of the table: means over queries and trials. labels: `direction`, `query` and the like.

        asked: the queries of each trial, for `tpr report compare` and `look`; none: these leave the row out.
        Raises DataError where no query has a match.
        """
        title = f"{corpus.name} {labels.get('search', '')}".strip()
        place = ", ".join(filter(None, (title, labels.get("direction", "").replace("_", " "))))
        metrics, deviations = summarise_trials(trials, place, warn=self.tells_unmatched)
        values = asdict(metrics)
        return Row(
            name=corpus.name,
            protocol=self.name,
            measures={name: values[name] for name in self.measures},
            facts={"queries": metrics.queries, "unmatched": metrics.unmatched},
            deviations={name: deviations[name] for name in self.measures if deviations},
            intervals=bootstrap_intervals(trials[0], self.measures) if intervals else {},
            ties=find_ties(trials, self.measures),
            queries=QueryTable.join(asked, trials) if asked else None,
            **labels,
        )


def find_best(
    search: Search, queries: Encoded, gallery: Encoded, chosen: IndexArray, top: int
) -> list[tuple[IndexArray, npt.NDArray[np.float64]]]:
    """(K,) best items of the first gallery and their scores, for each chosen query, stable."""
    trial = search.trials[0]
    scores = Products(queries.take(chosen), gallery.take(trial.gallery), cosine=search.cosine)
    asked = np.arange(len(search.gallery.identity))[trial.gallery]
    hidden = search.rule.excluded(search.queries.take(chosen), search.gallery.take(trial.gallery))
    scores.start(np.arange(len(chosen)), tuple(hidden))
    found = []
    for row in scores.exact().cpu().numpy():
        best = np.argsort(-row, kind="stable")[: min(top, int(np.isfinite(row).sum()))]
        found.append((asked[best], row[best]))
    return found
