"""The counter-based hash: uniform, independent over keys and draws, the same everywhere."""

import math

import numpy as np
import pytest
import torch

from tpr.data.samples.randomness import (
    MASK_32,
    Purpose,
    hash_bits,
    hash_uniform,
    mix,
    stream_key,
    uniform_rows,
)


def slow_bits(key: int, sample: int, draw: int) -> int:
    row = mix(sample ^ key)
    row = mix(row ^ ((sample >> 32) + mix(key + 0x85EBCA6B)))
    return mix(row + draw * 0x9E3779B9)


def test_the_tensor_form_equals_whole_number_arithmetic() -> None:
    samples = [0, 1, 2, 77, 2**31, 2**32 - 1, 2**32, 2**40 + 5]
    key = stream_key(3, 4, Purpose.ERASE)
    expected = [[slow_bits(key, sample, draw) for draw in range(5)] for sample in samples]
    assert hash_bits(key, torch.tensor(samples), 5).tolist() == expected


def test_the_given_samples_are_left_alone() -> None:
    samples = torch.arange(4)
    hash_bits(1, samples, 3)
    assert samples.tolist() == [0, 1, 2, 3]


def test_numbers_are_uniform() -> None:
    numbers = hash_uniform(1, 1, Purpose.FLIP, torch.arange(100_000), 2)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, bins=256, min=0, max=1)
    expected = numbers.numel() / 256
    # chi-square with 255 degrees of freedom: deviation sqrt(2 * 255) = 22.6
    assert abs(float(((counts - expected) ** 2 / expected).sum()) - 255) < 4 * 22.6


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 64])
def test_neighbouring_samples_and_draws_are_not_correlated(lag: int) -> None:
    bound = 4.5 / math.sqrt(12_000)
    samples = torch.arange(12_000 + lag)
    numbers = hash_uniform(5, 2, Purpose.CROP, samples, 70, torch.float64)
    for left, right in ((numbers[:-lag, 0], numbers[lag:, 0]), (numbers[lag:, 0], numbers[lag:, lag])):
        assert abs(float(torch.corrcoef(torch.stack([left, right]))[0, 1])) < bound


def test_seeds_epochs_and_purposes_give_unrelated_numbers() -> None:
    samples = torch.arange(10_000)
    streams = [
        hash_uniform(seed, epoch, purpose, samples, 1, torch.float64)[:, 0]
        for seed in (0, 1, 2**33)
        for epoch in (1, 2)
        for purpose in (Purpose.FLIP, Purpose.ERASE)
    ]
    correlation = torch.corrcoef(torch.stack(streams)) - torch.eye(len(streams))
    assert float(correlation.abs().max()) < 4.5 / math.sqrt(10_000)


def test_fewer_draws_are_the_first_ones() -> None:
    samples = torch.arange(9)
    assert torch.equal(hash_bits(7, samples, 3), hash_bits(7, samples, 20)[:, :3])
    assert torch.equal(hash_bits(7, samples[4:5], 3), hash_bits(7, samples, 3)[4:5])


def test_numpy_rows_equal_the_tensor() -> None:
    rows = uniform_rows(1, 2, Purpose.FLIP, np.arange(6), 4)
    assert rows.dtype == np.float32
    assert rows.tolist() == hash_uniform(1, 2, Purpose.FLIP, torch.arange(6), 4).tolist()


def test_keys_are_32_bits_and_differ() -> None:
    streams = [(seed, epoch, purpose) for seed in range(10) for epoch in range(50) for purpose in Purpose]
    keys = {stream_key(*stream) for stream in streams}
    assert len(keys) == 10 * 50 * len(Purpose)
    assert max(keys) <= MASK_32
