"""Random numbers that depend only on what they are for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pathray.pretraining.randomness import hashes, key, permutation, uniform

SEEDS = st.integers(0, 2**63 - 1)
MASK = (1 << 64) - 1


def draws(seed: int = 0, step: int = 0, purpose: str = "crop", samples: int = 4096) -> torch.Tensor:
    return uniform(seed, step, torch.arange(samples), purpose, 8)


@given(seed=SEEDS, step=st.integers(0, 10**9), cut=st.integers(0, 20))
def test_a_samples_numbers_do_not_depend_on_its_neighbours(seed: int, step: int, cut: int) -> None:
    index = torch.arange(20)
    parts = [uniform(seed, step, part, "crop", 5) for part in (index[:cut], index[cut:])]
    whole = uniform(seed, step, index, "crop", 5)
    assert torch.equal(torch.cat(parts), whole)
    order = torch.randperm(20)
    assert torch.equal(uniform(seed, step, order, "crop", 5), whole[order])


@pytest.mark.parametrize("seed", [0, 1, 2**62 + 5])
def test_they_are_uniform(seed: int) -> None:
    values = draws(seed)
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values.flatten().numpy(), "uniform").pvalue > 1e-3
    for column in values.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-4


def test_samples_draws_steps_seeds_and_purposes_are_independent() -> None:
    values = draws()
    others = [draws(1), draws(step=1), draws(purpose="flip"), values.roll(1, 0), values.roll(1, 1)]
    for other in others:
        found = np.corrcoef(values.flatten().numpy(), other.flatten().numpy())[0, 1]
        assert abs(found) < 5 / np.sqrt(values.numel())


@given(number=st.integers(0, MASK), counter=st.integers(-(2**63), 2**63 - 1))
def test_a_hash_is_splitmix64_of_its_counter(number: int, counter: int) -> None:
    x = (number + counter * 0x9E3779B97F4A7C15) & MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    expected = x ^ (x >> 31)
    assert int(hashes(number, torch.tensor([counter]))) & MASK == expected


def test_the_numbers_are_the_same_for_ever() -> None:
    """A resumed run on a later version must go on with the same batches."""
    assert key("rows", 1, 2) == 16810054537039249214
    assert permutation(key("rows", 1, 2), 5).tolist() == [1, 3, 0, 4, 2]
    assert (uniform(1, 2, torch.tensor([3]), "crop", 2) * 2**24).long().tolist() == [
        [4762977, 9117530]
    ]


@given(seed=SEEDS, n=st.integers(0, 100))
def test_a_permutation_holds_everything_once(seed: int, n: int) -> None:
    assert sorted(permutation(key("rows", seed), n).tolist()) == list(range(n))
