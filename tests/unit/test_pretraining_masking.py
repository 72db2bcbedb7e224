"""Block masks: the exact count, in blocks."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.pretraining import masking
from pathray.pretraining.masking import block_masks


@settings(max_examples=60)
@given(grid=st.integers(1, 20), share=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_exactly_as_many_are_hidden_as_asked(grid: int, share: float, seed: int) -> None:
    hidden = round(share * grid * grid)
    masks = block_masks(seed, 5, torch.arange(16), grid, hidden)
    assert masks.shape == (16, grid, grid)
    assert masks.dtype == torch.bool
    assert (masks.sum((1, 2)) == hidden).all()


def test_75_of_196_patches_are_hidden_by_default() -> None:
    assert (block_masks(0, 0, torch.arange(64), 14).sum((1, 2)) == 75).all()


@pytest.mark.parametrize("hidden", [-1, 197])
def test_a_count_that_is_impossible_is_refused(hidden: int) -> None:
    with pytest.raises(ValueError, match="of 14 x 14 patches"):
        block_masks(0, 0, torch.arange(2), 14, hidden)


@given(cut=st.integers(0, 24))
@settings(max_examples=10)
def test_a_mask_does_not_depend_on_the_others(cut: int) -> None:
    index = torch.arange(24)
    parts = torch.cat([block_masks(1, 2, part, 14) for part in (index[:cut], index[cut:])])
    assert torch.equal(parts, block_masks(1, 2, index, 14))


def test_masks_differ_between_samples_steps_and_seeds() -> None:
    index = torch.arange(50)
    masks = block_masks(1, 2, index, 14)
    assert len(masks.flatten(1).unique(dim=0)) == 50
    assert not torch.equal(masks, block_masks(1, 3, index, 14))
    assert not torch.equal(masks, block_masks(2, 2, index, 14))


def test_blocks_are_of_16_patches_or_more_and_of_the_papers_shapes() -> None:
    draws = torch.rand(5000, 4)
    blocks = masking._blocks(draws, torch.full((5000,), 75), 14)
    heights, widths = blocks.any(2).sum(1), blocks.any(1).sum(1)
    some = blocks.any((1, 2))
    assert some.float().mean() > 0.8
    assert torch.equal((heights * widths)[some], blocks.sum((1, 2))[some])
    # Sides are rounded to whole patches, areas and aspects with them.
    assert (heights * widths)[some].min() >= 12
    aspect = (heights + 0.5) / (widths - 0.5)
    assert (aspect[some] >= 0.3).all()
    assert ((widths + 0.5) / (heights - 0.5))[some].min() >= 0.3


def test_hardly_a_patch_is_hidden_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[torch.Tensor] = []
    hide_more = masking._hide_more
    monkeypatch.setattr(
        masking, "_hide_more", lambda m, s, rest: left.append(rest) or hide_more(m, s, rest)
    )
    for grid in (14, 16, 28):
        block_masks(0, 0, torch.arange(500), grid)
        assert left.pop().float().mean() < 1


def test_masks_are_as_clustered_as_those_made_one_by_one() -> None:
    mine = block_masks(0, 0, torch.arange(800), 14)
    rng = random.Random(0)
    theirs = torch.stack([one_by_one(rng) for _ in range(800)])
    for axis in (1, 2):
        ours, reference = (
            (masks & masks.roll(1, axis)).float().sum((1, 2)).mean() for masks in (mine, theirs)
        )
        assert abs(ours - reference) < 1.5
    assert (mine.float().mean(0) - theirs.float().mean(0)).abs().max() < 0.1


def one_by_one(rng: random.Random, grid: int = 14, hidden: int = 75) -> torch.Tensor:
    """Algorithm 1 of BEiT with the count made up at random, by a loop."""
    mask = torch.zeros(grid, grid, dtype=torch.bool)
    misses = 0
    while (left := hidden - int(mask.sum())) and misses < 10:
        area = rng.uniform(16, left)
        aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        misses += 1
        if height >= grid or width >= grid:
            continue
        block = torch.zeros_like(mask)
        top, start = rng.randint(0, grid - height), rng.randint(0, grid - width)
        block[top : top + height, start : start + width] = True
        if 0 < (block & ~mask).sum() <= left:
            mask |= block
            misses = 0
    free = (~mask).flatten().nonzero()[:, 0].tolist()
    mask.view(-1)[rng.sample(free, hidden - int(mask.sum()))] = True
    return mask
