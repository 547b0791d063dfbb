"""Descriptions search for images, or images for their descriptions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tpr.data.tables.corpus import Corpus
from tpr.errors import ConfigError, DataError
from tpr.evaluation.embed import Embedder, Encoder
from tpr.evaluation.protocols.base import Protocol, find_best
from tpr.evaluation.query_table import Asked
from tpr.evaluation.rankings import Ranking, make_ranking, spread_queries
from tpr.evaluation.rows import Row
from tpr.evaluation.search import Encoded, Labels, Search, run_search


class TextRetrieval(Protocol):
    """Every caption of a split searches all its images; the images of its identity match."""

    name = "text"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """How datasets of images and captions are measured."""

        directions: tuple[Literal["text_to_image", "image_to_text"], ...] = ("text_to_image",)
        """Directions that get a table row."""

        def __post_init__(self) -> None:
            if not self.directions or len(set(self.directions)) != len(self.directions):
                raise ConfigError(f"directions must name each direction once, got {list(self.directions)}")

    def check(self, encoder: Encoder, corpus: Corpus) -> None:
        """Raises DataError where nothing can be searched with."""
        if not corpus.caption_count:
            raise DataError(
                f"{corpus.name}: no image of the {corpus.split} split has a caption to search with"
            )

    def measure(self, embedder: Embedder, *, intervals: bool) -> list[Row]:
        """A row for each direction."""
        corpus = embedder.corpus
        self.check(embedder.system, corpus)
        encoded = {side: Encoded(embedder.embed(side)) for side in ("image", "text")}
        images, owners = np.arange(len(corpus)), corpus.caption_owners()
        labels = {"image": Labels.of(corpus.identity)}
        labels["text"] = labels["image"].take(owners)
        asked = {
            "image": Asked.of(corpus, images, owners),
            "text": Asked.of(corpus, owners, images, caption=np.arange(len(owners))),
        }
        rows = []
        for direction in self.options.directions:
            query, _, gallery = direction.partition("_to_")
            search = Search(labels[query], labels[gallery])
            trials = run_search(search, encoded[query], encoded[gallery])
            row = self.make_row(
                corpus,
                trials,
                asked=[asked[query]],
                intervals=intervals,
                direction=direction,
                is_main=direction == "text_to_image",
            )
            rows.append(row)
        return rows

    def list_examples(self, embedder: Embedder, queries: int, top: int) -> list[Ranking]:
        """The first caption of images spread evenly: not the best or worst queries, but a fair sample."""
        corpus = embedder.corpus
        described = np.flatnonzero(np.diff(corpus.caption_offsets))
        chosen = described[spread_queries(len(described), queries)]
        images = Encoded(embedder.embed("image"))
        texts = Encoded(embedder.embed("text", corpus.caption_offsets[chosen]))
        labels = Labels.of(corpus.identity)
        search = Search(labels.take(chosen), labels)
        found = find_best(search, texts, images, np.arange(len(chosen)), top)
        return [
            make_ranking(corpus.identity, row, best, caption=corpus.captions(row)[0])
            for row, best in zip(chosen.tolist(), found, strict=True)
        ]
