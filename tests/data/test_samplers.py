"""Orders of an epoch: every rule of both samplers, checked on whole epochs."""

import numpy as np
import pytest

from tpr import distributed
from tpr.data.samples.samplers import (
    CrossModalitySampler,
    IdentitySampler,
    ShuffledSampler,
    count_steps,
    count_within,
    shuffle,
    sort_stably,
)
from tpr.distributed import cut_share
from tpr.errors import ConfigError


def random_identities(seed: int, identities: int = 60, most: int = 14) -> np.ndarray:
    rng = np.random.RandomState(seed)
    identity = np.repeat(rng.permutation(identities * 3)[:identities], rng.randint(1, most + 1, identities))
    rng.shuffle(identity)
    return identity


def test_every_sample_comes_once_and_the_last_step_is_smaller() -> None:
    sampler = ShuffledSampler(10, 4, seed=1)
    batches = sampler.global_batches(1)
    assert len(sampler) == 3
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate(batches).tolist()) == list(range(10))


def test_published_steps_per_epoch() -> None:
    # IRRA's logs at batch 64: CUHK-PEDES, ICFG-PEDES, RSTPReid, and the size of the last step
    for captions, steps, last in ((68_126, 1065, 30), (34_674, 542, 50), (37_010, 579, 18)):
        batches = ShuffledSampler(captions, 64, seed=1).global_batches(1)
        assert len(batches) == steps
        assert len(batches[-1]) == last


@pytest.mark.parametrize("kind", ["shuffled", "identity"])
def test_order_is_a_function_of_seed_and_epoch(kind: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        if kind == "shuffled":
            return ShuffledSampler(500, 16, seed=seed).order(epoch).tolist()
        return IdentitySampler(random_identities(0), 16, 4, seed=seed).order(epoch).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_all_permutations_are_equally_likely() -> None:
    seen: dict[tuple[int, ...], int] = {}
    for key in range(6000):
        permutation = tuple(shuffle(3, key * 7919).tolist())
        seen[permutation] = seen.get(permutation, 0) + 1
    assert len(seen) == 6
    assert all(abs(count - 1000) < 4.5 * (1000 * 5 / 6) ** 0.5 for count in seen.values())


@pytest.mark.parametrize("seed", range(5))
def test_steps_hold_distinct_identities_with_k_samples_each(seed: int) -> None:
    identity = random_identities(seed)
    sampler = IdentitySampler(identity, 16, 4, seed=seed)
    batches = sampler.global_batches(3)
    assert len(batches) == len(sampler)
    for batch in batches:
        groups = identity[batch].reshape(4, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0].tolist())) == 4


@pytest.mark.parametrize("seed", range(5))
def test_samples_repeat_only_for_identities_with_fewer_than_k(seed: int) -> None:
    identity = random_identities(seed)
    order = IdentitySampler(identity, 16, 4, seed=seed).order(1)
    size = dict(zip(*np.unique(identity, return_counts=True), strict=True))
    samples, times = np.unique(order, return_counts=True)
    assert all(size[identity[sample]] < 4 for sample in samples[times > 1])
    for value, count in size.items():
        drawn = int((identity[order] == value).sum())
        assert drawn in range(0, max(count // 4, 1) * 4 + 1, 4)


def test_hardly_a_chunk_is_dropped() -> None:
    identity = random_identities(1, identities=200)
    counts = np.unique(identity, return_counts=True)[1]
    chunks = int(np.maximum(counts // 4, 1).sum())
    sampler = IdentitySampler(identity, 32, 4, seed=1)
    assert len(sampler) == chunks // 8


def test_one_large_identity_bounds_the_steps() -> None:
    # chunks 100, 1, 1, 1 with two identities a step: the three small ones serve one step each
    identity = np.repeat([0, 1, 2, 3], [200, 2, 2, 2])
    sampler = IdentitySampler(identity, 4, 2, seed=1)
    assert len(sampler) == 3
    assert all(len(set(identity[batch].tolist())) == 2 for batch in sampler.global_batches(1))


def test_most_steps_by_trying_all() -> None:
    rng = np.random.RandomState(0)
    for _ in range(100):
        chunks = rng.randint(1, 9, rng.randint(3, 12))
        identities = int(rng.randint(1, 4))
        best = max(s for s in range(1, 200) if np.minimum(chunks, s).sum() >= s * identities)
        assert count_steps(chunks, identities) == best


def test_identities_are_spread_over_the_whole_epoch() -> None:
    identity = np.repeat(np.arange(50), [40] * 5 + [4] * 45)
    sampler = IdentitySampler(identity, 20, 4, seed=1)
    epochs = [identity[np.stack(sampler.global_batches(epoch))] for epoch in range(1, 40)]
    steps = [np.flatnonzero((epoch < 5).any(axis=1)) for epoch in epochs]
    middle = np.concatenate(steps).mean() / (len(sampler) - 1)
    assert abs(middle - 0.5) < 0.05


def test_counting_within_groups() -> None:
    assert count_within(np.array([2, 1, 3])).tolist() == [0, 1, 0, 0, 1, 2]


def test_a_batch_larger_than_the_corpus_names_both_numbers() -> None:
    with pytest.raises(ConfigError, match="data.batch=64 is larger than a_set, which has 40 training"):
        ShuffledSampler(40, 64, seed=1, name="a_set")
    with pytest.raises(ConfigError, match="=64 needs 16 identities x 4 samples, a_set has 3 identities"):
        IdentitySampler(np.array([0, 1, 2, 2]), 64, 4, seed=1, name="a_set")
    with pytest.raises(ConfigError, match="data.batch=10 is no multiple of data.images_per_identity=4"):
        IdentitySampler(np.arange(90), 10, 4, seed=1)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_ranks_cut_a_batch_as_the_losses_expect(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    for total in (1, 7, 64):
        for rank in range(world):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            assert cut_share(total, rank, world) == distributed.local_slice(total)
            rows = distributed.rows_per_rank(total)
            assert cut_share(total, rank, world) == slice(sum(rows[:rank]), sum(rows[: rank + 1]))


@pytest.mark.parametrize("low", [0, -3])
def test_packed_sorting_is_numpys_stable_order(low: int) -> None:
    identity = np.random.RandomState(4).randint(low, 7, 200).astype(np.int64)
    assert np.array_equal(sort_stably(identity), np.argsort(identity, kind="stable"))
    assert np.array_equal(sort_stably(identity << 60), np.argsort(identity << 60, kind="stable"))


def make_cross(
    seed: int = 1, batch: int = 8, size: int = 2
) -> tuple[CrossModalitySampler, np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    visible, infrared = (np.concatenate([np.arange(20), rng.randint(0, 20, count)]) for count in (130, 60))
    return CrossModalitySampler(visible, infrared, batch, size, seed=seed), visible, infrared


@pytest.mark.parametrize("seed", range(4))
def test_slots_pair_images_of_one_person_and_a_step_has_p_persons_with_k_slots(seed: int) -> None:
    sampler, visible, infrared = make_cross(seed)
    for batch in sampler.global_batches(2):
        places = np.divmod(batch, len(infrared))
        people = visible[places[0]]
        assert np.array_equal(people, infrared[places[1]])
        groups = people.reshape(4, 2)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0].tolist())) == 4


def test_published_steps_of_cross_modality_epochs() -> None:
    # spec P15: SYSU int(22258 / 32) + 1, RegDB int(2060 / 32) + 1
    for visible, infrared, people, steps in ((22_258, 11_909, 395, 696), (2060, 2060, 206, 65)):
        sampler = CrossModalitySampler(
            np.arange(visible) % people, np.arange(infrared) % people, 32, 4, seed=1
        )
        assert len(sampler) == steps
        assert len(sampler.order(1)) == steps * 32


@pytest.mark.slow
def test_every_image_of_a_person_is_drawn_as_often_and_kinds_are_drawn_apart() -> None:
    visible, infrared = np.repeat(np.arange(4), [1, 2, 3, 4]), np.repeat(np.arange(4), [3, 3, 1, 2])
    sampler = CrossModalitySampler(visible, infrared, 4, 2, seed=1)
    order = np.concatenate([sampler.order(epoch) for epoch in range(1, 3000)])
    counts = np.bincount(order, minlength=len(visible) * len(infrared)).reshape(len(visible), len(infrared))
    for person in range(4):
        block = counts[np.ix_(visible == person, infrared == person)]
        expected = len(order) / 4 / block.size
        assert abs(counts[visible == person].sum() - len(order) / 4) < 5 * (len(order) / 4) ** 0.5
        assert (abs(block - expected) < 5 * expected**0.5).all()
    assert counts.sum() == sum(counts[np.ix_(visible == p, infrared == p)].sum() for p in range(4))


def test_cross_modality_order_is_a_function_of_seed_and_epoch() -> None:
    sampler, visible, infrared = make_cross()
    other = CrossModalitySampler(visible, infrared, 8, 2, seed=2)
    assert sampler.order(3).tolist() == make_cross()[0].order(3).tolist()
    assert sampler.order(3).tolist() != sampler.order(4).tolist()
    assert sampler.order(3).tolist() != other.order(3).tolist()


def test_cross_modality_refusals_name_both_numbers() -> None:
    identity = np.array([0, 1, 2, 2])
    with pytest.raises(ConfigError, match="=10 is no multiple of data.images_per_identity=4, as the cross"):
        CrossModalitySampler(identity, identity, 10, 4, seed=1)
    with pytest.raises(ConfigError, match="=16 needs 4 identities x 4 slots, a_set has 3 identities; lower"):
        CrossModalitySampler(identity, identity, 16, 4, seed=1, name="a_set")
