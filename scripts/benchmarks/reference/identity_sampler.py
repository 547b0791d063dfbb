"""The identity sampler as published: dictionaries, deep copies and `list.remove`, quadratic in identities."""

import copy
import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np


class IdentitySampler:
    """One epoch of row numbers: batches of P identities with K rows each.

    labels: identity of every row. Identities with fewer than K rows draw K with replacement.
    """

    def __init__(self, labels: Sequence[int], batch: int, per_identity: int) -> None:
        self.per_identity = per_identity
        self.identities_per_batch = batch // per_identity
        self.rows: dict[int, list[int]] = defaultdict(list)
        for row, identity in enumerate(labels):
            self.rows[identity].append(row)
        self.identities = list(self.rows)

    def cut(self, identity: int) -> list[list[int]]:
        """The rows of one identity, shuffled, in chunks of K; the rest is dropped."""
        rows = copy.deepcopy(self.rows[identity])
        if len(rows) < self.per_identity:
            rows = list(np.random.choice(rows, size=self.per_identity, replace=True))
        random.shuffle(rows)
        chunks: list[list[int]] = []
        chunk: list[int] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == self.per_identity:
                chunks.append(chunk)
                chunk = []
        return chunks

    def draw_epoch(self) -> list[int]:
        """All row numbers of one epoch."""
        chunks = {identity: self.cut(identity) for identity in self.identities}
        available = copy.deepcopy(self.identities)
        epoch: list[int] = []
        while len(available) >= self.identities_per_batch:
            for identity in random.sample(available, self.identities_per_batch):
                epoch.extend(chunks[identity].pop(0))
                if not chunks[identity]:
                    available.remove(identity)
        return epoch
