"""Which training samples form each step, as whole arrays: the same for any number of workers and ranks.

An order is one array of sample numbers for an epoch; step s is its s-th slice of `batch` samples. It is a
function of (seed, epoch) alone. Ranks cut their share out of each step, so all train on the same batches.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from tpr.data.samples.randomness import Purpose, hash_bits, stream_key
from tpr.data.tables.corpus import IndexArray
from tpr.errors import ConfigError

SamplerName = Literal["shuffled", "identity", "cross_modality"]
PIECE = 16_384
"""Numbers hashed at a time."""


class Sampler(ABC):
    """The order of an epoch."""

    batch: int
    """Samples in a step, over all ranks."""

    @abstractmethod
    def __len__(self) -> int:
        """Steps of an epoch, the same in every epoch."""

    @abstractmethod
    def order(self, epoch: int) -> IndexArray:
        """Sample numbers of all steps of an epoch, one step after another."""

    def global_batches(self, epoch: int) -> list[IndexArray]:
        """One array of sample numbers per step, over all ranks."""
        order = self.order(epoch)
        return [order[start : start + self.batch] for start in range(0, len(order), self.batch)]


class ShuffledSampler(Sampler):
    """Every sample once per epoch; the last step holds what is left over, as published."""

    def __init__(self, samples: int, batch: int, *, seed: int, name: str = "the training set") -> None:
        if samples < batch:
            raise ConfigError(
                f"data.batch={batch} is larger than {name}, which has {samples} training samples; lower it"
            )
        self.samples = samples
        self.batch = batch
        self.seed = seed

    def __len__(self) -> int:
        return -(-self.samples // self.batch)

    def order(self, epoch: int) -> IndexArray:
        """A permutation of all samples."""
        return shuffle(self.samples, stream_key(self.seed, epoch, Purpose.SHUFFLE))


class IdentitySampler(Sampler):
    """P identities x K samples in every step, P = batch / K.

    An identity's samples are shuffled and cut into chunks of K, the remainder is dropped; one with fewer
    than K draws K with repetition. Chunks are then dealt to the steps like cards, identity after identity
    in random order, so an identity never meets itself in a step, and as many steps come out as can.
    Differs: IRRA's sampler draws P identities that still have chunks until fewer than P have any, which
    leaves the identities with many images to the end of the epoch and drops what remains of them.
    """

    def __init__(
        self,
        identity: IndexArray,
        batch: int,
        per_identity: int,
        *,
        seed: int,
        name: str = "the training set",
    ) -> None:
        self.batch = batch
        self.per_identity = per_identity
        self.seed = seed
        self._groups = Groups.of(identity)
        known = len(self._groups.counts)
        self._identities = divide_batch(
            batch, per_identity, known, name=name, kind="identity", unit="samples"
        )
        chunks = np.maximum(self._groups.counts // per_identity, 1)
        self._steps = count_steps(chunks, self._identities)
        self._chunks = np.minimum(chunks, self._steps)

    def __len__(self) -> int:
        return self._steps

    def order(self, epoch: int) -> IndexArray:
        """Steps of P x K samples, an identity's K side by side."""
        key = stream_key(self.seed, epoch, Purpose.IDENTITY_SAMPLER)
        rows = self._shuffle_within(key)
        dealt = shuffle(len(self._groups.counts), key ^ 1)
        owner = np.repeat(dealt, self._chunks[dealt])[: self._steps * self._identities]
        chunk = count_within(self._chunks[dealt])[: len(owner)]
        # Card c goes to step c mod steps: an identity's chunks are neighbours, hence in different steps.
        steps = shuffle(self._steps, key ^ 2)
        table = np.arange(len(owner)).reshape(self._identities, self._steps)[:, steps].T.reshape(-1)
        owner, chunk = owner[table], chunk[table]
        places = self._pick(owner, chunk, key)
        return rows[places].reshape(-1)

    def _shuffle_within(self, key: int) -> IndexArray:
        """Sample numbers, grouped by identity, shuffled in each group."""
        count = len(self._groups.order)
        group = np.repeat(np.arange(len(self._groups.counts), dtype=np.uint64), self._groups.counts)
        place_bits = count.bit_length()
        random_bits = min(32, 64 - place_bits - len(self._groups.counts).bit_length())
        packed = group << np.uint64(random_bits)
        packed |= draw_bits(count, key) >> np.uint64(32 - random_bits)
        packed = (packed << np.uint64(place_bits)) | np.arange(count, dtype=np.uint64)
        packed.sort()
        order = (packed & np.uint64((1 << place_bits) - 1)).astype(np.int64)
        return self._groups.order[order]

    def _pick(self, owner: IndexArray, chunk: IndexArray, key: int) -> IndexArray:
        """(chunks, K) places in the grouped samples of each chunk."""
        size = self.per_identity
        places = (chunk * size)[:, None] + np.arange(size)
        few = self._groups.counts[owner] < size
        bits = hash_bits(key ^ 3, torch.from_numpy(owner[few]), size).numpy()
        places[few] = (bits * self._groups.counts[owner[few]][:, None]) >> 32
        result: IndexArray = places + self._groups.starts[owner][:, None]
        return result


class CrossModalitySampler(Sampler):
    """P identities x K slots in every step, P = batch / K; a slot is a visible and an infrared image.

    Identities of a step are distinct, images are drawn with repetition, and both images of a slot show
    the same person. A slot's number is visible place x infrared images + infrared place.
    Source: TVI-LFM, NeurIPS 2024, official `data_loader/sampler.py`: max(visible, infrared) // batch + 1
    steps. Differs: an epoch's draws are a hash of (seed, epoch), not numpy's global generator.
    """

    def __init__(
        self,
        visible_identity: IndexArray,
        infrared_identity: IndexArray,
        batch: int,
        per_identity: int,
        *,
        seed: int,
        name: str = "the training set",
    ) -> None:
        """Both kinds must show the same identities."""
        self.batch = batch
        self.per_identity = per_identity
        self.seed = seed
        self._groups = [Groups.of(visible_identity), Groups.of(infrared_identity)]
        known = len(self._groups[0].counts)
        self._identities = divide_batch(
            batch, per_identity, known, name=name, kind="cross-modality", unit="slots"
        )
        self._steps = max(len(visible_identity), len(infrared_identity)) // batch + 1

    def __len__(self) -> int:
        return self._steps

    def order(self, epoch: int) -> IndexArray:
        """Steps of P x K slots, an identity's K side by side."""
        key = stream_key(self.seed, epoch, Purpose.CROSS_MODALITY)
        visible, infrared = self._groups
        bits = hash_bits(key, torch.arange(self._steps), len(visible.counts)).numpy()
        chosen = np.argsort(bits, axis=1, kind="stable")[:, : self._identities].reshape(-1)
        first = visible.draw(chosen, self.per_identity, key ^ 1)
        second = infrared.draw(chosen, self.per_identity, key ^ 2)
        slots: IndexArray = first * len(infrared.order) + second
        return slots.reshape(-1)


@dataclass(frozen=True)
class Groups:
    """Places sorted by identity, to draw some of one identity."""

    order: IndexArray
    """Places, identity after identity."""
    starts: IndexArray
    """(C,) where each identity begins in `order`."""
    counts: IndexArray
    """(C,) places of each identity."""

    @classmethod
    def of(cls, identity: IndexArray) -> "Groups":
        """The groups of (N,) identities."""
        order = sort_stably(identity)
        changes = np.flatnonzero(np.diff(identity[order])) + 1
        starts = np.concatenate([np.zeros(min(len(identity), 1), dtype=np.int64), changes])
        return cls(order, starts, np.diff(starts, append=len(identity)))

    def find_next(self, place: int) -> int:
        """The next place of the same identity; after the last the first."""
        where = int(np.flatnonzero(self.order == place)[0])
        group = int(np.searchsorted(self.starts, where, side="right")) - 1
        start = int(self.starts[group])
        return int(self.order[start + (where - start + 1) % int(self.counts[group])])

    def draw(self, chosen: IndexArray, size: int, key: int) -> IndexArray:
        """(len(chosen), size) places of each chosen identity, with repetition."""
        bits = hash_bits(key, torch.arange(len(chosen)), size).numpy()
        drawn = (bits * self.counts[chosen][:, None]) >> 32
        result: IndexArray = self.order[self.starts[chosen][:, None] + drawn]
        return result


def divide_batch(batch: int, per_identity: int, known: int, *, name: str, kind: str, unit: str) -> int:
    """Identities of a step. Raises ConfigError where the batch cannot be made of `known` ones.

    name: the corpus; kind: the sampler; unit: what an identity has `per_identity` of.
    """
    if batch % per_identity:
        raise ConfigError(
            f"data.batch={batch} is no multiple of data.images_per_identity={per_identity}, "
            f"as the {kind} sampler needs"
        )
    identities = batch // per_identity
    if known < identities:
        raise ConfigError(
            f"data.batch={batch} needs {identities} identities x {per_identity} {unit}, "
            f"{name} has {known} identities; lower data.batch"
        )
    return identities


def count_steps(chunks: IndexArray, identities: int) -> int:
    """Most steps of `identities` distinct identities that these numbers of chunks allow.

    That is the largest S with sum(min(chunks, S)) >= S * identities: an identity can serve S steps at most.
    """
    low, high = 1, int(chunks.sum()) // identities
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(chunks, middle).sum()) >= middle * identities:
            low = middle
        else:
            high = middle - 1
    return low


def count_within(counts: IndexArray) -> IndexArray:
    """0, 1, ... within each group: [2, 1, 3] -> [0, 1, 0, 0, 1, 2]."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) - np.repeat(ends - counts, counts)


def sort_stably(identity: IndexArray) -> IndexArray:
    """The order of numpy's stable argsort, in half its time: value and place sorted as one number."""
    place_bits = len(identity).bit_length()
    if not len(identity) or identity.min() < 0 or int(identity.max()).bit_length() + place_bits > 64:
        return np.argsort(identity, kind="stable")
    packed = (identity.astype(np.uint64) << np.uint64(place_bits)) | np.arange(len(identity), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64((1 << place_bits) - 1)).astype(np.int64)


def draw_bits(count: int, key: int) -> npt.NDArray[np.uint64]:
    """(count,) 32 random bits each."""
    # In pieces that stay in the cache: the hash is a dozen passes over its numbers.
    pieces = [hash_bits(key, piece, 1)[:, 0] for piece in torch.split(torch.arange(count), PIECE)]
    return torch.cat(pieces).numpy().astype(np.uint64)


def shuffle(count: int, key: int) -> IndexArray:
    """A permutation of 0..count-1, the same with every version of numpy."""
    packed = (draw_bits(count, key) << np.uint64(32)) | np.arange(count, dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
