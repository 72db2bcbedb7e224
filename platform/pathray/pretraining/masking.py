"""Block masks, for a whole batch at once (BEiT, Bao et al. 2022, algorithm 1; BEiT v2)."""

import math

import torch

from pathray.pretraining.randomness import uniform

MASKED_SHARE = 75 / 196
"""BEiT v2 hides 75 of 14 x 14 patches."""
SMALLEST_BLOCK = 16
"""Patches; smaller only when fewer are left to hide."""
LOWEST_ASPECT = 0.3
"""Height by width of a block is log-uniform between this and its inverse."""
PROPOSALS = 40
GIVE_UP = 10
"""After so many proposals in a row that do not fit, the rest is hidden patch by patch."""


def block_masks(
    seed: int, step: int, index: torch.Tensor, grid: int, hidden: int | None = None
) -> torch.Tensor:
    """Masks (B, grid, grid) bool, True = hidden, of exactly `hidden` patches each.

    `index` (B,) int64: the samples' places in batch `step`, on the device of the masks;
    `hidden` defaults to 75 of 196. Blocks are proposed and taken when they hide something
    new and not too much, until the count is reached. Where no block fits, single patches
    make up the count, as in BEiT v2. The number of proposals is fixed, so that a GPU is
    never asked whether they are done.
    """
    hidden = round(MASKED_SHARE * grid * grid) if hidden is None else hidden
    if grid < 1 or not 0 <= hidden <= grid * grid:
        raise ValueError(f"cannot hide {hidden} of {grid} x {grid} patches")
    masks = torch.zeros((len(index), grid, grid), dtype=torch.bool, device=index.device)
    draws = uniform(seed, step, index, "mask blocks", 4 * PROPOSALS).view(-1, PROPOSALS, 4)
    left = torch.full_like(index, hidden)
    misses = torch.zeros_like(index)
    for proposal in draws.unbind(1):
        blocks = _blocks(proposal, left, grid)
        new = (blocks & ~masks).sum((1, 2))
        taken = (new > 0) & (new <= left) & (misses < GIVE_UP)
        masks |= blocks & taken[:, None, None]
        left = left - new * taken
        misses = torch.where(taken, 0, misses + 1)
    scores = uniform(seed, step, index, "mask patches", grid * grid)
    return _hide_more(masks.flatten(1), scores, left).view_as(masks)


def _blocks(draws: torch.Tensor, left: torch.Tensor, grid: int) -> torch.Tensor:
    """A rectangle a sample, (B, grid, grid) bool; empty where it would span the grid."""
    area = SMALLEST_BLOCK + draws[:, 0] * (left - SMALLEST_BLOCK)
    aspect = ((2 * draws[:, 1] - 1) * -math.log(LOWEST_ASPECT)).exp()
    height, width = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (height < grid) & (width < grid)
    rows = _spans(height, draws[:, 2], grid)
    columns = _spans(width, draws[:, 3], grid)
    return rows[:, :, None] & columns[:, None, :] & fits[:, None, None]


def _spans(length: torch.Tensor, draw: torch.Tensor, grid: int) -> torch.Tensor:
    """A run of `length` of the grid's places at random, (B, grid) bool."""
    first = (draw * (grid - length + 1)).floor()[:, None]
    places = torch.arange(grid, device=length.device)
    return (places >= first) & (places < first + length[:, None])


def _hide_more(masks: torch.Tensor, scores: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Hide `left` (B,) more patches of masks (B, P): those of the highest scores."""
    order = scores.masked_fill(masks, -1).argsort(1, descending=True)
    return masks | (order.argsort(1) < left[:, None])
