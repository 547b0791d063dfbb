"""What measures are worth where scores tie: their means over all orders of equal scores, each as likely.

The numbers of a table keep gallery order among equal scores, so a model that gives everything one score is
ranked by how the gallery happens to be sorted. Its expected measures are those of chance. No order is ever
drawn: a query's measures depend on the groups of equal scores that hold its matches, and their means have
closed forms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tpr.data.tables.corpus import Flags, IndexArray

CUTS = (1, 5, 10, 20)
"""The k of every R@k."""
MOST_NODES = 200
"""Points of the integral over the time of a first match; with this number, 4,000 tied images err by 1e-12."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Expected:
    """Measures of each query, expected over the orders of equal scores."""

    share: Numbers
    """(Q,) in [0, 1]: part of the gallery that is no match and has exactly the score of a match."""
    hits: Numbers
    """(Q, cuts) chance of a match among the first k, for each of `CUTS`."""
    precision: Numbers
    """(Q,) expected average precision."""
    penalty: Numbers
    """(Q,) expected inverse penalty."""

    def put(self, rows: IndexArray, other: "Expected") -> None:
        """Overwrite some rows by those of `other`."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


class TieGroups(NamedTuple):
    """The groups of equal scores that hold matches, query by query and from the best score down."""

    row: IndexArray
    """(N,) row of the query."""
    above: IndexArray
    """(N,) items with better scores."""
    size: IndexArray
    """(N,) items of this score, matches included."""
    matches: IndexArray
    """(N,) matches among them."""
    found: IndexArray
    """(N,) matches with better scores."""
    first: IndexArray
    """(R,) each query's group with the best score."""
    last: IndexArray
    """(R,) each query's group with the worst score."""


def join_expected(parts: Sequence[Expected]) -> Expected:
    """Rows of several parts as one."""
    columns = [np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Expected)]
    return Expected(*columns)


def expect_untied(first: IndexArray, precision: Numbers, penalty: Numbers) -> Expected:
    """What is expected where no score ties: the measures themselves. first: (Q,) ranks of first matches."""
    hits = (first[:, None] <= np.array(CUTS)).astype(np.float64)
    return Expected(np.zeros(len(first)), hits, precision.copy(), penalty.copy())


def group_matches(above: IndexArray, size: IndexArray, valid: Flags) -> TieGroups:
    """The groups of some queries' matches.

    above, size: (R, P) items with better scores than each match, and of its score, itself included. valid:
    (R, P) false for padding; every row has a match.
    """
    rows, slots = np.nonzero(valid)
    span = int(above.max(initial=0)) + 1
    # Matches tie where equally many items are above them.
    key, place, matches = np.unique(rows * span + above[rows, slots], return_index=True, return_counts=True)
    row = key // span
    first = np.searchsorted(row, np.arange(len(valid)))
    last = np.append(first[1:], len(row)) - 1
    before = np.cumsum(matches) - matches
    found = before - before[first[row]]
    return TieGroups(row, key % span, size[rows, slots][place], matches, found, first, last)


def expect_ties(groups: TieGroups, gallery: IndexArray) -> Expected:
    """Expected measures of images in groups of equal scores. gallery: (R,) items that count."""
    queries = len(groups.first)
    others = np.bincount(groups.row, (groups.size - groups.matches).astype(np.float64), queries)
    matches = np.bincount(groups.row, groups.matches.astype(np.float64), queries)
    precision = np.bincount(groups.row, sum_precisions(groups), queries) / matches
    penalty = matches * expect_last(*(part[groups.last] for part in groups[1:4]))
    hits = expect_hits(*(part[groups.first] for part in groups[1:4]))
    return Expected(others / gallery, hits, precision.clip(0, 1), penalty.clip(0, 1))


def expect_hits(above: IndexArray, size: IndexArray, matches: IndexArray) -> Numbers:
    """(R, cuts) chance that the first k hold one of `matches` in a group of `size` behind `above` items.

    The first t of a group hold none with the hypergeometric chance C(size - matches, t) / C(size, t).
    """
    step = np.arange(max(CUTS))
    factors = np.maximum((size - matches)[:, None] - step, 0) / np.maximum(size[:, None] - step, 1)
    missed = np.concatenate([np.ones((len(size), 1)), np.cumprod(factors, axis=1)], axis=1)
    looked = (np.array(CUTS) - above[:, None]).clip(0, max(CUTS))
    return 1 - np.take_along_axis(missed, looked, axis=1)


def sum_precisions(groups: TieGroups) -> Numbers:
    """(N,) expected sum over a group's matches of (matches so far / rank).

    Each of the n places of a group holds a match with the chance m / n, and (j - 1)(m - 1) / (n - 1) of the
    others are then expected at the j - 1 places before it; sums of one over the rank are harmonic numbers.
    """
    above, size, matches = groups.above, groups.size, groups.matches
    ranks = np.arange(1, int((above + size).max()) + 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / ranks)])
    inverse = harmonic[above + size] - harmonic[above]
    earlier = (matches - 1) / np.maximum(size - 1, 1) * (size - (above + 1) * inverse)
    total: Numbers = matches / size * ((groups.found + 1) * inverse + earlier)
    return total


def expect_last(above: IndexArray, size: IndexArray, matches: IndexArray) -> Numbers:
    """(R,) expected one over the rank of the last of `matches` in a group of `size` behind `above` items.

    It stands at place j with the chance C(j - 1, m - 1) / C(n, m).
    """
    cases, case = np.unique(np.stack([above, size, matches], axis=1), axis=0, return_inverse=True)
    values = np.empty(len(cases))
    for number, (start, places, wanted) in enumerate(cases.tolist()):
        place = np.arange(places, wanted - 1, -1)
        ratios = (place[:-1] - wanted) / np.maximum(place[:-1] - 1, 1)
        chance = wanted / places * np.cumprod(np.concatenate([[1.0], ratios]))
        values[number] = (chance / (start + place)).sum()
    return values[case.reshape(-1)]


def expect_person_hits(above: IndexArray, tied: IndexArray, matches: IndexArray) -> Numbers:
    """(R, cuts) chance that a person is among the first k, where a person counts once before the first match.

    above: (R,) people with a better score than the best match. tied: (R, I) images of each other person
    with the score of the best match, zero for people above. matches: (R,) matches with that score.
    """
    known: dict[bytes, Numbers] = {}
    hits = np.empty((len(above), len(CUTS)))
    for row, (better, own) in enumerate(zip(above.tolist(), matches.tolist(), strict=True)):
        sizes = np.bincount(tied[row])
        key = np.append(sizes[1:], own).tobytes()
        if key not in known:
            known[key] = np.append(0, np.cumsum(_count_people(sizes, own)))
        hits[row] = known[key][(np.array(CUTS) - better).clip(0, max(CUTS))]
    return hits.clip(0, 1)


def _count_people(sizes: IndexArray, own: int) -> Numbers:
    """(highest cut,) chance of 0, 1, 2... other people before the first of `own` matches.

    sizes: how many people have 0, 1, 2... tied images. In a random order every image comes at a time of
    its own, even over [0, 1]. With u left when the first match comes (density own x u^(own - 1)), a person of
    c images has not come yet with the chance u^c, each person for itself.
    """
    images = int((sizes * np.arange(len(sizes))).sum())
    left, weight = _place_nodes(min((images + own) // 2 + 1, MOST_NODES))
    chance = np.zeros((max(CUTS), len(left)))
    chance[0] = own * weight * left ** (own - 1)
    for count in np.repeat(np.arange(1, len(sizes)), sizes[1:]).tolist():
        absent = left**count
        following = chance[:-1] * (1 - absent)
        chance *= absent
        chance[1:] += following
    total: Numbers = chance.sum(1)
    return total


@lru_cache(maxsize=MOST_NODES)
def _place_nodes(count: int) -> tuple[Numbers, Numbers]:
    """Places and weights that integrate polynomials below degree 2 x count over [0, 1] exactly."""
    place, weight = np.polynomial.legendre.leggauss(count)
    return (place + 1) / 2, weight / 2
