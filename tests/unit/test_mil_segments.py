"""Segment operations: each must be what a loop over the bags gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.mil import segments as module
from pathray.mil.segments import Segments

CPU = torch.device("cpu")
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=90)


@pytest.fixture(autouse=True, params=[7, 4096])
def rows_a_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that cut bags, and chunks that hold them all."""
    monkeypatch.setattr(module, "CHUNK_CPU", request.param)


def segments(sizes: list[int]) -> Segments:
    return Segments(torch.tensor([0, *torch.tensor(sizes).cumsum(0)]), CPU)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


quick = settings(max_examples=15)


@quick
@given(SIZES)
def test_sum_mean_max_and_softmax_are_those_of_each_bag(sizes: list[int]) -> None:
    cut = segments(sizes)
    values = drawn(sum(sizes), 3)
    each = values.split(sizes)
    close = torch.testing.assert_close
    close(cut.sum(values), torch.stack([bag.sum(0) for bag in each]))
    close(cut.mean(values), torch.stack([bag.mean(0) for bag in each]))
    close(cut.max(values), torch.stack([bag.amax(0) for bag in each]))
    close(cut.softmax(values), torch.cat([bag.softmax(0) for bag in each]))


@quick
@given(SIZES)
def test_pooling_is_a_product_with_each_bags_weights(sizes: list[int]) -> None:
    cut = segments(sizes)
    weights, values = drawn(sum(sizes), 2), drawn(sum(sizes), 5, seed=1)
    pooled, picked = cut.pool(weights, values, torch.tensor([0, sum(sizes) - 1]))
    pairs = zip(weights.split(sizes), values.split(sizes), strict=True)
    torch.testing.assert_close(pooled, torch.stack([w.T @ v for w, v in pairs]))
    assert torch.equal(picked, values[[0, -1]])


@quick
@given(SIZES, st.integers(1, 9))
def test_extremes_are_the_highest_and_lowest_of_each_bag(sizes: list[int], k: int) -> None:
    scores = drawn(sum(sizes)).float()
    highest, lowest = segments(sizes).extremes(scores, k)
    each = scores.split(sizes)
    most = [min(k, size) for size in sizes]
    assert torch.equal(scores[highest], torch.cat([bag.topk(min(k, len(bag)))[0] for bag in each]))
    low = [bag.topk(min(k, len(bag)), largest=False)[0] for bag in each]
    assert torch.equal(scores[lowest], torch.cat(low))
    bags = torch.arange(len(sizes)).repeat_interleave(torch.tensor(most))
    assert torch.equal(segments(sizes).ids[highest], bags)


def test_ties_and_signed_zeros_are_ordered_without_losing_a_tile() -> None:
    scores = torch.tensor([0.0, -0.0, -1.0, -2.0, 0.0, 3.0, 3.0])
    highest, lowest = segments([5, 2]).extremes(scores, 5)
    assert sorted(highest.tolist()) == sorted(lowest.tolist()) == list(range(7))
    assert scores[highest].tolist() == [0, 0, 0, -1, -2, 3, 3]


@pytest.mark.parametrize("sizes", [[1], [3, 1, 20, 2], [2] * 70])
def test_gradients_are_the_numerical_ones(sizes: list[int]) -> None:
    cut, total = segments(sizes), sum(sizes)
    weights = drawn(total, 2).requires_grad_()
    values = drawn(total, 3, seed=1).requires_grad_()
    rows = torch.tensor([0, total - 1, 0])
    assert torch.autograd.gradcheck(lambda w, v: cut.pool(w, v, rows), (weights, values))
    assert torch.autograd.gradcheck(cut.softmax, (weights,))
    assert torch.autograd.gradcheck(cut.max, (weights,))
    assert torch.autograd.gradcheck(cut.mean, (values,))


def test_half_precision_is_added_up_in_single() -> None:
    values = torch.full((60_000, 1), 1.0, dtype=torch.bfloat16)
    cut = segments([59_990, 10])
    assert cut.sum(values).tolist() == [[59_990], [10]]
    torch.testing.assert_close(cut.mean(values), torch.ones(2, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("offsets", [[0, 3, 3, 5], [0], [1, 2]])
def test_an_empty_bag_or_odd_offsets_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match=r"has no tiles|offsets begin at 0"):
        Segments(torch.tensor(offsets), CPU)
