"""Images search for images of the same person before other cameras: re-identification.

Source: Zheng et al., ICCV 2015; the rule of torchreid, fast-reid, BoT, TransReID and CLIP-ReID.
"""

from dataclasses import dataclass

import numpy as np

from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.errors import ConfigError, DataError
from tpr.evaluation.embed import Embedder, Encoder
from tpr.evaluation.protocols.base import Protocol, find_best
from tpr.evaluation.query_table import Asked
from tpr.evaluation.rankings import Ranking, make_ranking, spread_queries
from tpr.evaluation.rows import Row
from tpr.evaluation.search import Encoded, Labels, Rule, Search, Trial, exclude_same_camera, run_search


class ImageRetrieval(Protocol):
    """Queries search the gallery; images of the same person before the same camera do not count.

    A split without roles is both: each of its images searches for the others.
    """

    name = "image"
    measures = ("r1", "r5", "r10", "r20", "map", "minp")

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """How datasets without captions are measured; there is nothing to choose."""

    def check(self, encoder: Encoder, corpus: Corpus) -> None:
        """Raises ConfigError for an encoder without images, DataError without queries or gallery."""
        if "image" not in encoder.sides():
            raise ConfigError(
                f"{corpus.name}: the system encodes {', '.join(encoder.sides())}, and images search here; "
                "leave the dataset out of data.test, or choose another system"
            )
        for part, rows in zip(("query", "gallery"), self.find_rows(corpus), strict=True):
            if not len(rows):
                raise DataError(f"{corpus.name}: the {corpus.split} split has no {part} image")

    def find_rows(self, corpus: Corpus) -> tuple[IndexArray, IndexArray]:
        """Rows of the queries and of the gallery."""
        roles = corpus.roles()
        if roles is None:
            return np.arange(len(corpus)), np.arange(len(corpus))
        return np.flatnonzero(roles == "query"), np.flatnonzero(roles == "gallery")

    def make_search(self, corpus: Corpus) -> Search:
        """Between rows of the corpus."""
        cameras = corpus.cameras()
        # Where the camera is not known, an image is kept from itself alone.
        cameras = np.where(cameras < 0, -1 - np.arange(len(corpus)), cameras)
        labels = Labels(corpus.identity, cameras)
        return Search(labels, labels, Rule(exclude_same_camera), trials=(Trial(*self.find_rows(corpus)),))

    def measure(self, embedder: Embedder, *, intervals: bool) -> list[Row]:
        """One row."""
        corpus = embedder.corpus
        self.check(embedder.system, corpus)
        images = Encoded(embedder.embed("image"))
        trials = run_search(self.make_search(corpus), images, images)
        asked = [Asked.of(corpus, *self.find_rows(corpus))]
        row = self.make_row(corpus, trials, asked=asked, intervals=intervals, direction="image_to_image")
        return [row]

    def list_examples(self, embedder: Embedder, queries: int, top: int) -> list[Ranking]:
        """Queries spread evenly: not the best or worst ones, but a fair sample."""
        corpus, search = embedder.corpus, self.make_search(embedder.corpus)
        asking, _ = self.find_rows(corpus)
        chosen = asking[spread_queries(len(asking), queries)]
        images = Encoded(embedder.embed("image"))
        found = find_best(search, images, images, chosen, top)
        return [
            make_ranking(corpus.identity, row, best, query=row)
            for row, best in zip(chosen.tolist(), found, strict=True)
        ]
