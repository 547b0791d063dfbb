"""Named splits in, results out: what a run measures during training and at its end."""

from collections.abc import Mapping
from typing import Literal

import torch

from tpr.config.measures import MEASURES
from tpr.config.schema import Experiment
from tpr.data.tables.corpora import Corpora
from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError, DataError
from tpr.evaluation.embed import Autocast, Embedder, Encoder
from tpr.evaluation.protocols import PROTOCOLS, Protocol
from tpr.evaluation.rankings import Ranking
from tpr.evaluation.rows import SELECTED_ON_TEST, Results


class Evaluator:
    """Measures a system on the validation or test sets of a run, on all ranks together."""

    def __init__(
        self, experiment: Experiment, corpora: Corpora, *, device: torch.device, autocast: Autocast
    ) -> None:
        """autocast: makes the context of the run's arithmetic."""
        self.experiment = experiment
        self.corpora = corpora
        self.device = device
        self.autocast = autocast

    def check(self, system: Encoder) -> None:
        """Raise, before anything is trained, what `evaluate` would raise."""
        wanted = self.experiment.evaluation.select_by
        for corpus in (*self.corpora.val.values(), *self.corpora.test.values()):
            protocol = self.make_protocol(corpus)
            if wanted is not None and wanted not in protocol.measures:
                raise ConfigError(
                    f"evaluation.select_by={wanted} is not measured on {corpus.name}; its protocol "
                    f"'{protocol.name}' measures {', '.join(protocol.measures)}"
                )
            protocol.check(system, corpus)

    def evaluate(self, system: Encoder, which: Literal["val", "test"]) -> Results:
        """Every dataset of one kind by its protocol. Every rank must call it and gets the same.

        Raises DataError where there is no such dataset, or one that its protocol cannot measure.
        """
        intervals, rows = self.experiment.evaluation.intervals, []
        for corpus in self.get_sets(which).values():
            rows += self.make_protocol(corpus).measure(
                self.make_embedder(system, corpus), intervals=intervals
            )
        is_optimistic = which == "test" and self.experiment.evaluation.select_on == "test"
        return Results(tuple(rows), SELECTED_ON_TEST if is_optimistic else "")

    def score(self, results: Results) -> float:
        """The number that selects the best epoch, higher is better: a mean over datasets of rows that decide.

        Datasets that are trained on decide where there are any, as in the published fine-tuning tables, which
        add others to look at transfer.
        """
        chosen = results.list_deciding()
        trained = {choice.name for choice in self.experiment.data.train}
        chosen = [row for row in chosen if row.name in trained] or chosen
        values = []
        for row in chosen:
            name = self.experiment.evaluation.select_by or PROTOCOLS[row.protocol].selects
            values.append(row.measures[name] if MEASURES[name].higher_is_better else -row.measures[name])
        return sum(values) / len(values)

    def list_examples(self, system: Encoder, name: str, queries: int, top: int = 10) -> list[Ranking]:
        """The best images of a test set for some of its queries. Every rank must call it."""
        corpus = self.get_sets("test")[name]
        return self.make_protocol(corpus).list_examples(self.make_embedder(system, corpus), queries, top)

    def make_protocol(self, corpus: Corpus) -> Protocol:
        """What measures a corpus, with this run's options."""
        protocol = PROTOCOLS[corpus.task.protocol]
        options = self.experiment.evaluation.protocols.get(corpus.task.protocol)
        return protocol(protocol.Options() if options is None else options)

    def make_embedder(self, system: Encoder, corpus: Corpus) -> Embedder:
        """What embeds a corpus with this run's options."""
        return Embedder(
            system,
            corpus,
            self.experiment.data,
            batch=self.experiment.evaluation.batch,
            device=self.device,
            autocast=self.autocast,
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
