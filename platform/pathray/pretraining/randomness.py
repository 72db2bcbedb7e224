"""Random numbers without a state: each is a hash of what it is for.

A generator's next number depends on how many were drawn before, so on how the work was cut
into workers and micro-batches. Here a number depends on (seed, step, sample, purpose) alone,
on any device: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) over counters.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1


def key(purpose: str, *numbers: int) -> int:
    """A 64-bit key of a purpose and some numbers; another order is another key."""
    state = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    for number in numbers:
        state = _mix_integer(state + GOLDEN + (number & MASK))
    return state


def hashes(key: int, counters: torch.Tensor) -> torch.Tensor:
    """64 random bits for each int64 counter, as int64 of the same shape, on its device."""
    return _mix(counters * _signed(GOLDEN) + _signed(key))


def uniform(seed: int, step: int, index: torch.Tensor, purpose: str, count: int) -> torch.Tensor:
    """Float32 (B, count) in [0, 1) for the samples at places `index` (B,) int64 of batch `step`.

    A sample's numbers do not depend on which other samples are asked for with it.
    """
    streams = hashes(key(purpose, seed, step), index)
    draws = torch.arange(1, count + 1, device=index.device) * _signed(GOLDEN)
    bits = _mix(streams[:, None] + draws)
    return ((bits >> 40) & 0xFFFFFF).float() * 2.0**-24


def permutation(key: int, n: int) -> NDArray[np.int64]:
    """A random order of 0..n-1."""
    return torch.argsort(hashes(key, torch.arange(n)), stable=True).numpy()


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shift(x, 30)) * _signed(FIRST)
    x = (x ^ _shift(x, 27)) * _signed(SECOND)
    return x ^ _shift(x, 31)


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    # int64 shifts copy the sign; unsigned ones do not.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix_integer(x: int) -> int:
    x &= MASK
    x = (x ^ (x >> 30)) * FIRST & MASK
    x = (x ^ (x >> 27)) * SECOND & MASK
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x
