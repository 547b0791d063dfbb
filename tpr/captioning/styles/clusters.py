"""Groups of captions that are put alike: KMeans, uniform prototype sampling (UPS), DBSCAN for the ablation.

Source: HAM, CVPR 2025; its code has none of this, and its text was known to us at second hand.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tpr.captioning.styles.options import Metric
from tpr.errors import ConfigError

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
PROTOTYPES_PER_PASS = 64


def cluster_kmeans(
    features: npt.NDArray[np.float32], count: int, *, seed: int, iterations: int
) -> list[Rows]:
    """`count` groups that hold every row once, rows ascending. Raises ConfigError where there are too few."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    distinct = len(np.unique(features, axis=0)) if len(features) < 4 * count else len(features)
    if distinct < count:
        raise ConfigError(f"kmeans={count}: there are only {distinct:,} different captions; ask for fewer")
    with warnings.catch_warnings():
        # More iterations than allowed is what `iterations` asks for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        label = KMeans(count, n_init=1, max_iter=iterations, random_state=seed).fit_predict(features)
    return _group(label, count)


def cluster_dbscan(features: npt.NDArray[np.float32], *, distance: float, neighbours: int) -> list[Rows]:
    """Dense groups; rows in no dense place are in none. Raises ConfigError where nothing is dense."""
    from sklearn.cluster import DBSCAN

    label = DBSCAN(eps=distance, min_samples=neighbours).fit_predict(features)
    if label.max(initial=-1) < 0:
        raise ConfigError(
            f"dbscan_distance={distance:g}: no caption has {neighbours} neighbours so near; raise it"
        )
    return _group(label, int(label.max()) + 1)


def _group(label: npt.NDArray[np.int32], count: int) -> list[Rows]:
    return [np.flatnonzero(label == number).astype(np.int64) for number in range(count)]


def sample_uniformly(
    features: npt.NDArray[np.float32], count: int, *, members: int, reach: float, metric: Metric, seed: int
) -> list[Rows]:
    """`count` groups of exactly `members` rows, the nearest first: those next to uniformly drawn prototypes.

    A row may be in several groups or in none. Prototypes lie within `reach` standard deviations of the mean.
    Raises ConfigError where there are fewer rows than a group has.
    """
    if len(features) < members:
        raise ConfigError(f"ups_members={members}: there are only {len(features):,} captions; ask for fewer")
    rows = features.astype(np.float64)
    draws = np.random.Generator(np.random.PCG64(seed)).random((count, features.shape[1]))
    return list(find_nearest(rows, place_prototypes(rows, draws, reach), members, metric))


def place_prototypes(features: Floats, draws: Floats, reach: float) -> Floats:
    """(K, D) points of the box mean ± reach x deviation, over all rows, per column; draws in [0, 1)."""
    mean, deviation = features.mean(0), features.std(0)
    points: Floats = mean + reach * deviation * (2 * draws - 1)
    return points


def find_nearest(features: Floats, prototypes: Floats, members: int, metric: Metric) -> Iterator[Rows]:
    """Of each prototype, the `members` nearest rows in order; of equally near ones the first."""
    if metric == "cosine":
        features, prototypes = _unit(features), _unit(prototypes)
    squares = (features**2).sum(1)
    for start in range(0, len(prototypes), PROTOTYPES_PER_PASS):
        part = prototypes[start : start + PROTOTYPES_PER_PASS]
        # The prototype's own length is the same for all rows.
        for distance in squares - 2 * part @ features.T:
            yield np.argsort(distance, kind="stable")[:members].astype(np.int64)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
