"""Views of tiles: in range, the same in every slicing, and right on images that are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from pathray.pretraining import colour
from pathray.pretraining.augment import Augmentation
from pathray.pretraining.colour import jitter_colour, jitter_stain
from pathray.pretraining.cropping import random_boxes, random_flips, resized_crops

EVERYTHING = Augmentation(24, stain=0.2, vertical_flip=True)


def some_tiles(count: int = 12, side: int = 32) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), np.uint8))


def some_pixels(count: int = 12) -> torch.Tensor:
    return some_tiles(count).permute(0, 3, 1, 2) / 255


@settings(max_examples=20)
@given(seed=st.integers(0, 2**40), step=st.integers(0, 10**6), cut=st.integers(0, 12))
def test_a_view_is_in_range_and_does_not_depend_on_its_neighbours(
    seed: int, step: int, cut: int
) -> None:
    tiles, index = some_tiles(), torch.arange(12)
    whole = EVERYTHING(tiles, seed, step, index)
    assert whole.shape == (12, 3, 24, 24)
    assert whole.dtype == torch.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    parts = [EVERYTHING(tiles[part], seed, step, part) for part in (index[:cut], index[cut:])]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


def test_views_differ_between_samples_steps_and_seeds() -> None:
    tiles, index = some_tiles(1).expand(6, -1, -1, -1), torch.arange(6)
    views = EVERYTHING(tiles, 1, 2, index)
    assert len(views.flatten(1).unique(dim=0)) == 6
    assert not torch.allclose(views, EVERYTHING(tiles, 1, 3, index))
    assert not torch.allclose(views, EVERYTHING(tiles, 2, 2, index))


def test_autocast_leaves_pixels_exact() -> None:
    tiles, index = some_tiles(), torch.arange(12)
    with torch.autocast("cpu", torch.bfloat16):
        views = EVERYTHING(tiles, 1, 2, index)
    assert torch.equal(views, EVERYTHING(tiles, 1, 2, index))


@pytest.mark.parametrize(("side", "size"), [(32, 32), (32, 48), (64, 16), (57, 31)])
def test_crops_are_torchvisions_antialiased_bicubic(side: int, size: int) -> None:
    tiles = some_tiles(20, side)
    boxes = random_boxes(3, 4, torch.arange(20), side, (0.08, 1.0))
    flips = random_flips(3, 4, torch.arange(20), vertical=True)
    crops = resized_crops(tiles, boxes, flips, size)
    for tile, box, flip, crop in zip(tiles, boxes.long().tolist(), flips, crops, strict=True):
        image = tile.permute(2, 0, 1) / 255
        theirs = functional.resized_crop(
            image, *box, [size, size], v2.InterpolationMode.BICUBIC, antialias=True
        ).clamp(0, 1)
        axes = [axis for axis, flipped in zip((1, 2), flip, strict=True) if flipped]
        torch.testing.assert_close(crop, theirs.flip(axes), rtol=0, atol=2e-5)


def test_the_whole_tile_at_its_own_size_is_the_tile() -> None:
    tiles = some_tiles()
    boxes = torch.tensor([0.0, 0, 32, 32]).expand(12, 4)
    still = torch.zeros(12, 2, dtype=torch.bool)
    torch.testing.assert_close(resized_crops(tiles, boxes, still, 32), some_pixels())
    flipped = resized_crops(tiles, boxes, still | torch.tensor([True, False]), 32)
    torch.testing.assert_close(flipped, some_pixels().flip(2))
    flipped = resized_crops(tiles, boxes, still | torch.tensor([False, True]), 32)
    torch.testing.assert_close(flipped, some_pixels().flip(3))


@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 1.0), (1.0, 1.0)])
def test_boxes_are_distributed_as_torchvisions(scale: tuple[float, float]) -> None:
    n, side = 3000, 224
    mine = random_boxes(0, 1, torch.arange(n), side, scale)
    assert (mine[:, :2] >= 0).all()
    assert (mine[:, :2] + mine[:, 2:] <= side).all()
    torch.manual_seed(0)
    image = torch.empty(3, side, side)
    crop = v2.RandomResizedCrop(side, scale=scale, ratio=(3 / 4, 4 / 3))
    theirs = [crop.make_params([image]) for _ in range(n)]
    for i, name in enumerate(("top", "left", "height", "width")):
        sample = [params[name] for params in theirs]
        assert stats.ks_2samp(mine[:, i].numpy(), sample).pvalue > 1e-3, name
    area = [params["height"] * params["width"] for params in theirs]
    assert stats.ks_2samp((mine[:, 2] * mine[:, 3]).numpy(), area).pvalue > 1e-3


def test_half_of_the_tiles_are_flipped_and_upside_down_only_when_asked() -> None:
    index = torch.arange(4000)
    both = random_flips(0, 0, index, vertical=True).float()
    assert (both.mean(0) - 0.5).abs().max() < 0.04
    assert abs(np.corrcoef(both.T.numpy())[0, 1]) < 0.06
    assert random_flips(0, 0, index, vertical=False).sum(0)[0] == 0


@settings(max_examples=20)
@given(seed=st.integers(0, 2**40), strength=st.floats(0.01, 1))
def test_colour_jitter_is_torchvisions_at_the_same_factors(seed: int, strength: float) -> None:
    index, pixels = torch.arange(12), some_pixels()
    draws = colour.uniform(seed, 7, index, "colour", 4)
    mine = jitter_colour(pixels, seed, 7, index, strength)
    changes = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
    )
    for image, draw, jittered in zip(pixels, draws, mine, strict=True):
        for kind in colour.ORDERS[int(draw[3] * 6)]:
            image = changes[kind](image, 1 + strength * (2 * float(draw[kind]) - 1))
        torch.testing.assert_close(jittered, image, rtol=0, atol=1e-5)


def test_all_orders_of_colour_jitter_come_up() -> None:
    draws = colour.uniform(0, 0, torch.arange(600), "colour", 4)
    assert np.bincount((draws[:, 3] * 6).long()).min() > 60


def test_jitter_of_no_strength_is_identity() -> None:
    pixels, index = some_pixels(), torch.arange(12)
    assert torch.equal(jitter_colour(pixels, 0, 0, index, 0), pixels)
    assert torch.equal(jitter_stain(pixels, 0, 0, index, 0), pixels)
    nearly = jitter_stain(pixels, 0, 0, index, 1e-9)
    torch.testing.assert_close(nearly, pixels, rtol=0, atol=1e-5)


def test_stain_jitter_changes_the_amount_of_each_stain_as_it_says() -> None:
    """A patch of pure haematoxylin stays on the line of haematoxylin, but for the shifts."""
    amounts = torch.rand(16, 3, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.1
    stains = torch.tensor(colour.STAINS)
    light = 10 ** -(amounts @ stains)
    pixels = ((256 * light - 1) / 255)[:, :, None, None].expand(-1, -1, 4, 4)
    index = torch.arange(16)
    changed = jitter_stain(pixels, 5, 6, index, 0.05)
    density = -torch.log10((255 * changed[:, :, 0, 0] + 1) / 256)
    found = density @ torch.linalg.inv(stains)
    draws = 2 * colour.uniform(5, 6, index, "stain", 6) - 1
    expected = amounts * (1 + 0.05 * draws[:, :3]) + 0.05 * draws[:, 3:]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (changed - pixels).abs().max() > 0.01


def test_white_stays_nearly_white_under_light_stain_jitter() -> None:
    white = torch.ones(64, 3, 2, 2)
    changed = jitter_stain(white, 0, 0, torch.arange(64), 0.05)
    assert changed.min() > 10 ** (-0.05 * max(map(math.fsum, zip(*colour.STAINS, strict=True))))
