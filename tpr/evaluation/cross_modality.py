"""Visible-infrared sets measured: every kind of query in every search that the options ask for.

Each image is embedded once, whatever the number of drawn galleries, and an infrared image once for all
kinds of query.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.config.visible_infrared import Query, VisibleInfraredOptions
from tpr.data.tables.corpus import Corpus, IndexArray
from tpr.errors import ConfigError
from tpr.evaluation.embed import Embedder
from tpr.evaluation.metrics import QueryResults, concatenate
from tpr.evaluation.protocols import (
    Images,
    Search,
    Texts,
    Trial,
    choose_texts,
    find_excluded,
    list_images,
    list_searches,
)
from tpr.evaluation.rankings import Ranking, spread_queries
from tpr.evaluation.results import Probe, Row
from tpr.evaluation.shards import cut_queries, share_parts
from tpr.evaluation.tie_note import find_ties
from tpr.evaluation.visible_infrared import CROSS_MEASURES, rank_by_protocol, summarise_trials
from tpr.systems.base import System

QUERIES: tuple[Query, ...] = ("infrared", "text", "fused", "ensemble")
"""Every kind, in the order of the table's rows; the last one that is measured selects the best epoch."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features by corpus row; rows that no search needs have none."""

    place: IndexArray
    """(corpus rows,) place of each row's features on its side."""
    images: Tensor
    """(V, D) visible images."""
    infrared: Mapping[Query, Tensor]
    """(N, D) infrared images, as each kind of query."""
    texts: Texts | None = None
    """The infrared images' captions, where they brought some."""


def measure_modalities(embedder: Embedder, options: VisibleInfraredOptions) -> list[Row]:
    """A row per search and kind of query. Every rank must call it and gets the same.

    Raises ConfigError for queries that the system cannot encode, DataError for images or texts that are
    missing.
    """
    corpus = embedder.corpus
    kinds = choose_queries(embedder.system, options)
    searches = list_searches(corpus, options)
    features = embed_modalities(embedder, options, kinds, searches)
    rows = []
    for search in searches:
        for kind in kinds:
            results = rank_trials(corpus, search, features, kind)
            label = f"{corpus.name} {search.name}".strip()
            metrics, deviations = summarise_trials(results, f"{label}, {search.direction.replace('_', ' ')}")
            text = None if kind == "infrared" else options.text
            probe = Probe(kind, search.name, text, len(search.trials), deviations or None)
            ties = find_ties(results, CROSS_MEASURES)
            rows.append(Row(corpus.name, search.direction, metrics, probe=probe, ties=ties))
    return rows


def check_modalities(system: System, corpus: Corpus, options: VisibleInfraredOptions) -> None:
    """Raise what `measure_modalities` would, without an image being read."""
    list_searches(corpus, options)
    find_texts(corpus, options, choose_queries(system, options))


def find_texts(corpus: Corpus, options: VisibleInfraredOptions, kinds: tuple[Query, ...]) -> Texts | None:
    """The texts of all infrared images, None where these kinds of query need none."""
    if kinds == ("infrared",):
        return None
    needs_own = bool({"fused", "ensemble"} & set(kinds))
    return choose_texts(corpus, list_images(corpus, infrared=True), options, needs_own=needs_own)


def choose_queries(system: System, options: VisibleInfraredOptions) -> tuple[Query, ...]:
    """The kinds of query to measure. Raises ConfigError for one that the system cannot encode."""
    able = tuple(kind for kind in QUERIES if kind in system.sides())
    unable = [kind for kind in options.queries if kind not in able]
    if unable:
        raise ConfigError(
            f"evaluation.visible_infrared.queries: the system cannot encode '{unable[0]}'; it can encode "
            f"{', '.join(able)}"
        )
    return tuple(kind for kind in able if kind in (options.queries or able))


def embed_modalities(
    embedder: Embedder,
    options: VisibleInfraredOptions,
    kinds: tuple[Query, ...],
    searches: list[Search],
) -> Features:
    """Features of every image that a search needs."""
    corpus = embedder.corpus
    needed = np.zeros(len(corpus), dtype=bool)
    for trial in (trial for search in searches for trial in search.trials):
        needed[trial.queries] = needed[trial.gallery] = True
    infrared = list_images(corpus, infrared=True)
    # Found for every image, so that a drawn text does not depend on the searches.
    texts = find_texts(corpus, options, kinds)
    texts = None if texts is None else texts.take(needed[infrared])
    infrared = infrared[needed[infrared]]
    visible = np.flatnonzero(needed & ~corpus.infrared())
    place = np.full(len(corpus), -1, dtype=np.int64)
    place[visible], place[infrared] = np.arange(len(visible)), np.arange(len(infrared))
    images = embedder.embed("image", visible)
    return Features(place, images, embed_queries(embedder, infrared, texts, kinds), texts)


def embed_queries(
    embedder: Embedder, infrared: IndexArray, texts: Texts | None, kinds: tuple[Query, ...]
) -> dict[Query, Tensor]:
    """(N, D) of each kind; texts alone need no image, and each caption only once."""
    if kinds == ("text",):
        assert texts is not None
        captions, place = np.unique(texts.given, return_inverse=True)
        features = embedder.embed("text", captions)
        return {"text": features[torch.from_numpy(place.reshape(-1)).to(features.device)]}
    encoded = embedder.embed_infrared(infrared, texts, kinds)
    return {kind: encoded[kind] for kind in kinds}


def rank_trials(corpus: Corpus, search: Search, features: Features, kind: Query) -> list[QueryResults]:
    """The results of each trial, with shards of queries in turn on every rank."""
    parts = [
        (number, shard)
        for number, trial in enumerate(search.trials)
        for shard in cut_queries(len(trial.queries))
    ]
    images = Images(corpus.identity, corpus.cameras())

    def measure(part: int) -> QueryResults:
        number, shard = parts[part]
        queries, gallery = search.trials[number].queries[shard], search.trials[number].gallery
        distance = measure_distances(corpus, features, kind, Trial(queries, gallery))
        return rank_by_protocol(distance, images.take(queries), images.take(gallery), corpus.protocol)

    results = zip(parts, share_parts(len(parts), measure), strict=True)
    return [
        concatenate([part for _, part in group]) for _, group in groupby(results, key=lambda pair: pair[0][0])
    ]


def measure_distances(
    corpus: Corpus, features: Features, kind: Query, trial: Trial
) -> npt.NDArray[np.float64]:
    """(Q, G) negative inner products in float64."""
    is_infrared = corpus.infrared()
    sides = []
    for rows in (trial.queries, trial.gallery):
        table = features.infrared[kind] if is_infrared[rows[0]] else features.images
        sides.append(table[torch.from_numpy(features.place[rows]).to(table.device)].double())
    products: npt.NDArray[np.float64] = (-sides[0] @ sides[1].T).cpu().numpy()
    return products


def rank_examples(
    embedder: Embedder, options: VisibleInfraredOptions, queries: int, top: int
) -> list[Ranking]:
    """The best images of the first gallery for queries spread evenly, of the last kind and first search."""
    corpus = embedder.corpus
    kind, search = choose_queries(embedder.system, options)[-1], list_searches(corpus, options)[0]
    gallery = search.trials[0].gallery
    chosen = search.trials[0].queries[spread_queries(len(search.trials[0].queries), queries)]
    trial = Trial(chosen, gallery)
    features = embed_modalities(embedder, options, (kind,), [replace(search, trials=(trial,))])
    distance = measure_distances(corpus, features, kind, trial)
    images = Images(corpus.identity, corpus.cameras())
    for excluded in find_excluded(corpus.protocol, images.take(chosen), images.take(gallery)):
        distance[excluded] = np.inf
    rankings = []
    for row, own in zip(chosen.tolist(), distance, strict=True):
        best = np.argsort(own, kind="stable")[: min(top, int(np.isfinite(own).sum()))]
        hits = corpus.identity[gallery[best]] == corpus.identity[row]
        caption = read_text(corpus, features, row) if search.direction == "infrared_to_visible" else ""
        scores = -own[best].astype(np.float32)
        rankings.append(Ranking(caption, int(corpus.identity[row]), gallery[best], scores, hits, row))
    return rankings


def read_text(corpus: Corpus, features: Features, row: int) -> str:
    """The text that an infrared image searches with, with a word on where it is from; empty for none."""
    if features.texts is None:
        return ""
    number = int(features.texts.given[features.place[row]])
    owner = int(np.searchsorted(corpus.caption_offsets, number, side="right")) - 1
    caption = corpus.captions(owner)[number - int(corpus.caption_offsets[owner])]
    return caption if owner == row else f"ORACLE: {caption}"
