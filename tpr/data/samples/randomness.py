"""Randomness as a function of (seed, epoch, sample, purpose, position) alone.

A counter-based hash stands where a generator would: the number of workers, of processes, the split of a
batch and a resumed run change nothing. The same integers come out of numpy in the loader and of torch on
any device.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MASK_32 = 0xFFFFFFFF
GOLDEN = 0x9E3779B9 - 2**32
"""The golden ratio's bits, signed: code compiled for a GPU counts positions in 32 bits."""


class Purpose(IntEnum):
    """What a random number is for; numbers are part of every run's reproducibility, so only add."""

    SHUFFLE = 1
    FLIP = 2
    CROP = 3
    ERASE = 4
    CAPTION = 5
    MASK_SELECT = 6
    MASK_KIND = 7
    IDENTITY_SAMPLER = 8
    HELD_OUT = 9
    PATCHES = 10
    DROPOUT = 11
    TEXT_AUGMENT = 12
    DIVISION = 13
    CROSS_MODALITY = 20
    EXCHANGE = 21
    GREY = 22
    REPHRASE = 23
    OPERATION = 24


def mix(value: int) -> int:
    """One round of a 32-bit integer finaliser (every input bit reaches every output bit)."""
    value &= MASK_32
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & MASK_32
    value = ((value ^ (value >> 15)) * 0x846CA68B) & MASK_32
    return value ^ (value >> 16)


def stream_key(seed: int, epoch: int, purpose: Purpose) -> int:
    """32-bit key of one stream of random numbers."""
    key = 0x9E3779B9
    for part in (seed, seed >> 32, epoch, int(purpose)):
        key = mix(key ^ mix((part & MASK_32) + 0x9E3779B9))
    return key


def _mix_in_place(value: Tensor) -> Tensor:
    # The same integers as `mix`; in place, because half the time of small tensors is allocation.
    value &= MASK_32
    value ^= value >> 16
    value *= 0x7FEB352D
    value &= MASK_32
    value ^= value >> 15
    value *= 0x846CA68B
    value &= MASK_32
    value ^= value >> 16
    return value


@torch.library.custom_op("tpr::place_key", mutates_args=())
def place_key(sample: Tensor, seed: int, epoch: int, purpose: int) -> Tensor:
    """`stream_key` as a scalar on the device of `sample`.

    Compiled code calls it as it stands: written out, the arithmetic of an epoch that changes would keep the
    compiler busy for ever.
    """
    return torch.full((), stream_key(seed, epoch, Purpose(purpose)), device=sample.device)


@place_key.register_fake
def _(sample: Tensor, seed: int, epoch: int, purpose: int) -> Tensor:
    return sample.new_empty((), dtype=torch.int64)


def draw_bits(seed: int, epoch: int, purpose: Purpose, sample: Tensor, draws: int) -> Tensor:
    """`hash_bits` of a stream, in code that is compiled as well."""
    if torch.compiler.is_compiling():
        return hash_bits(place_key(sample, seed, epoch, int(purpose)), sample, draws)
    return hash_bits(stream_key(seed, epoch, purpose), sample, draws)


def hash_bits(key: int | Tensor, sample: Tensor, draws: int) -> Tensor:
    """(B, draws) int64 in [0, 2^32): draw d of each sample, on the device of `sample` ((B,) int64).

    A sample's draws do not depend on how many are asked for, nor on the other samples.
    """
    # The key enters twice: entering once, two keys would give two samples the same draws.
    second = key + 0x85EBCA6B
    second = mix(second) if isinstance(second, int) else _mix_in_place(second)
    row = _mix_in_place(sample ^ key)
    row = _mix_in_place(row ^ ((sample >> 32) + second))
    column = torch.arange(draws, device=sample.device, dtype=torch.int64) * GOLDEN
    return _mix_in_place(row[:, None] + column)


def hash_uniform(
    seed: int, epoch: int, purpose: Purpose, sample: Tensor, draws: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """(B, draws) uniform numbers in [0, 1) with 24 random bits, exact in float32 on every device."""
    return (draw_bits(seed, epoch, purpose, sample, draws) >> 8).to(dtype) * 2.0**-24


def uniform_rows(
    seed: int, epoch: int, purpose: Purpose, sample: npt.NDArray[np.int64], draws: int
) -> npt.NDArray[np.float32]:
    """`hash_uniform` for the loader: the same numbers as a numpy array."""
    uniform = hash_uniform(seed, epoch, purpose, torch.from_numpy(sample), draws)
    result: npt.NDArray[np.float32] = uniform.numpy()
    return result
