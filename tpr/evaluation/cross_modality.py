"""Visible-infrared sets measured: every kind of query in every search that the options ask for.

Each picture is embedded once, whatever the number of drawn galleries, and an infrared picture once for all
kinds of query.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.config.visible_infrared import Query, VisibleInfraredOptions
from tpr.data.corpus import Corpus, IndexArray
from tpr.errors import ConfigError
from tpr.evaluation.embed import Embedder
from tpr.evaluation.metrics import QueryResults, concatenate
from tpr.evaluation.protocols import (
    Pictures,
    Search,
    Texts,
    Trial,
    choose_texts,
    list_pictures,
    list_searches,
)
from tpr.evaluation.results import Probe, Row
from tpr.evaluation.shards import cut_queries, share_parts
from tpr.evaluation.visible_infrared import rank_by_protocol, summarise_trials
from tpr.systems.base import System

QUERIES: tuple[Query, ...] = ("infrared", "text", "fused", "ensemble")
"""Every kind, in the order of the table's rows; the last one that is measured selects the best epoch."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features by corpus row; rows that no search needs have none."""

    place: IndexArray
    """(corpus rows,) place of each row's features on its side."""
    images: Tensor
    """(V, D) visible pictures."""
    infrared: Mapping[Query, Tensor]
    """(N, D) infrared pictures, as each kind of query."""


def measure_modalities(embedder: Embedder, options: VisibleInfraredOptions) -> list[Row]:
    """A row per search and kind of query. Every rank must call it and gets the same.

    Raises ConfigError for queries that the system cannot encode, DataError for pictures or texts that are
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
            rows.append(Row(corpus.name, search.direction, metrics, probe=probe))
    return rows


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
    """Features of every picture that a search needs."""
    corpus = embedder.corpus
    infrared = list_pictures(corpus, infrared=True)
    texts = None
    if kinds != ("infrared",):
        texts = choose_texts(corpus, infrared, options, needs_own=bool({"fused", "ensemble"} & set(kinds)))
    needed = np.zeros(len(corpus), dtype=bool)
    for trial in (trial for search in searches for trial in search.trials):
        needed[trial.queries] = needed[trial.gallery] = True
    visible = np.flatnonzero(needed & ~corpus.infrared())
    place = np.full(len(corpus), -1, dtype=np.int64)
    place[visible], place[infrared] = np.arange(len(visible)), np.arange(len(infrared))
    return Features(place, embedder.embed("image", visible), embed_queries(embedder, infrared, texts, kinds))


def embed_queries(
    embedder: Embedder, infrared: IndexArray, texts: Texts | None, kinds: tuple[Query, ...]
) -> dict[Query, Tensor]:
    """(N, D) of each kind; texts alone need no picture, and each caption only once."""
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
    pictures = Pictures(corpus.identity, corpus.cameras())

    def measure(part: int) -> QueryResults:
        number, shard = parts[part]
        queries, gallery = search.trials[number].queries[shard], search.trials[number].gallery
        distance = measure_distances(corpus, features, kind, Trial(queries, gallery))
        return rank_by_protocol(distance, pictures.take(queries), pictures.take(gallery), corpus.protocol)

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
