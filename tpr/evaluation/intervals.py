"""Bootstrap intervals of retrieval metrics over query identities.

Queries of one person succeed and fail together, so whole identities are drawn, not queries.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tpr.evaluation.query_results import RETRIEVAL, QueryResults

Interval = tuple[float, float]
DRAWS_AT_ONCE = 2**22
"""Counts held at once: the number of identities times the samples drawn together."""


def bootstrap_intervals(
    results: QueryResults,
    wanted: Sequence[str] = RETRIEVAL,
    *,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Mapping[str, Interval]:
    """Percentile interval in percent of each wanted measure; the same numbers for the same seed.

    Each sample draws as many identities, with replacement, as there are among queries with a match, and
    averages over the queries of those drawn.
    """
    matched = results.first > 0
    means = draw_means(results.identity[matched], results.measures(), samples=samples, seed=seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    found = {name: (float(a), float(b)) for name, a, b in zip(RETRIEVAL, low, high, strict=True)}
    return {name: found[name] for name in wanted}


def draw_means(
    identity: npt.NDArray[np.int64], values: npt.NDArray[np.float64], *, samples: int, seed: int
) -> npt.NDArray[np.float64]:
    """(samples, K) means of (Q, K) values over the queries of identities drawn with replacement.

    identity: (Q,) that of each query. Columns of one sample are of the same identities.
    """
    names, member = np.unique(identity, return_inverse=True)
    sums = np.zeros((len(names), 1 + values.shape[1]))
    np.add.at(sums, member, np.column_stack([np.ones(len(values)), values]))
    rng = np.random.default_rng(seed)
    shares = np.full(len(names), 1 / len(names))
    step = max(1, DRAWS_AT_ONCE // len(names))
    totals = np.concatenate(
        [
            rng.multinomial(len(names), shares, size=min(step, samples - done)) @ sums
            for done in range(0, samples, step)
        ]
    )
    means: npt.NDArray[np.float64] = totals[:, 1:] / totals[:, :1]
    return means
