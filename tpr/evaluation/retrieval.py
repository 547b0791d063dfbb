"""Retrieval quality of any features or distances, without a corpus or a system."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tpr.evaluation.protocols.visible_infrared import RULES, Rules
from tpr.evaluation.query_results import Metrics, QueryResults, summarise
from tpr.evaluation.scores import GivenDistances, Products
from tpr.evaluation.search import Labels, rank

Array = npt.NDArray[Any] | Tensor


def retrieval_metrics(
    queries: Array,
    gallery: Array,
    query_identity: Array,
    gallery_identity: Array,
    *,
    chunk_bytes: int | None = None,
) -> Metrics:
    """Ranks the gallery by cosine for every query and averages over queries.

    queries: (Q, D), gallery: (G, D), of any length, numpy or torch, on any device. query_identity: (Q,),
    gallery_identity: (G,) integers. Equal scores keep gallery order. chunk_bytes: size of one block of
    scores; absent: 8 to 24 MiB on a CPU, 256 MiB on a GPU. Queries without a match are left out,
    counted, and named in one warning. Raises TrainingError for features that are not finite and DataError
    where no query has a match.
    Source: IRRA, CVPR 2023, official `utils/metrics.py`. Differs: stable order, float64 sums.
    """
    return summarise(
        rank_queries(queries, gallery, query_identity, gallery_identity, chunk_bytes=chunk_bytes)
    )


def rank_queries(
    queries: Array,
    gallery: Array,
    query_identity: Array,
    gallery_identity: Array,
    *,
    chunk_bytes: int | None = None,
) -> QueryResults:
    """One row per query; arguments as `retrieval_metrics`."""
    sides = (_to_features(queries, "query"), _to_features(gallery, "gallery"))
    identities = zip((query_identity, gallery_identity), sides, ("query", "gallery"), strict=True)
    asking, asked = (_to_labels(identity, len(rows), side) for identity, rows, side in identities)
    return rank(Products(*sides, block_bytes=chunk_bytes), asking, asked)


def visible_infrared_metrics(
    distance: Array,
    query_identity: Array,
    gallery_identity: Array,
    query_camera: Array,
    gallery_camera: Array,
    protocol: Rules,
) -> Metrics:
    """Ranks the gallery by distance for every query, by the rules of one dataset, and averages over queries.

    distance: (Q, G), smaller is nearer, numpy or torch. Identities and cameras: (Q,) and (G,) integers.
    Equal distances keep gallery order. A query whose matches the rules all drop is left out and counted.
    Raises TrainingError for distances that are not finite and DataError where no query has a match.
    Source: TVI-LFM, official `tools/eval_metrics.py`. Differs: stable order, float64 sums, and LLCM's rule
    for every kind of query; a query without a match is left out of R@k, where it added nothing as well.
    """
    matrix = distance.detach().cpu().numpy() if isinstance(distance, Tensor) else np.asarray(distance)
    labels = (query_identity, gallery_identity, query_camera, gallery_camera)
    people, owners, cameras, views = (np.asarray(torch.as_tensor(part).cpu(), np.int64) for part in labels)
    sizes = (len(people), len(owners))
    if matrix.shape != sizes or sizes != (len(cameras), len(views)):
        raise ValueError(f"distances {matrix.shape} do not fit identities {sizes} or their cameras")
    scores = GivenDistances(matrix)
    found = rank(scores, Labels(people, cameras), Labels(owners, views), RULES[protocol])
    return summarise(found, warn=False)


def _to_features(features: Array, side: str) -> Tensor:
    """(N, D) float32, or float64 where the caller's are, without a copy where possible."""
    if isinstance(features, np.ndarray):
        features = torch.from_numpy(features if features.flags.writeable else features.copy())
    if features.ndim != 2:
        raise ValueError(f"{side} features must be (N, D), got shape {tuple(features.shape)}")
    return features.detach() if features.dtype == torch.float64 else features.detach().float()


def _to_labels(identity: Array, rows: int, side: str) -> Labels:
    values = identity.detach().cpu().numpy() if isinstance(identity, Tensor) else np.asarray(identity)
    if values.shape != (rows,):
        raise ValueError(f"{side} identities must be ({rows},), one per feature, got {values.shape}")
    return Labels.of(values.astype(np.int64))
