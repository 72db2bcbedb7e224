"""Mean and standard deviation of a data set's colours, from a sample of its tiles."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.errors import RequestError, TileError
from pathray.pretraining.randomness import key, permutation
from pathray.pretraining.rowgroups import RowGroups
from pathray.tilestore import decode_image

TILES = 8192
TILES_A_GROUP = 64
"""At most so many of one row group, so that many slides are in the sample."""
PARALLEL = 8


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of R, G, B in 0..1, over all pixels of `tiles` tiles."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tiles: int


def sampled_normalisation(groups: RowGroups, seed: int, tiles: int = TILES) -> Normalisation:
    """The normalisation of about `tiles` tiles, a seeded sample of at most 64 a row group.

    Counted exactly, as histograms: the same whatever is read first. Tiles that cannot be
    decoded are not counted; RequestError when none can.
    """
    chosen: list[tuple[int, list[int]]] = []
    left = tiles
    for group in permutation(key("normalisation", seed), len(groups)).tolist():
        if left <= 0:
            break
        rows = permutation(key("normalisation", seed, group), int(groups.rows[group]))
        chosen.append((group, sorted(rows[: min(TILES_A_GROUP, left)].tolist())))
        left -= len(chosen[-1][1])
    with ThreadPoolExecutor(PARALLEL) as pool:
        counted = list(pool.map(lambda of: _count(groups, *of), chosen))
    used = sum(tiles for _, tiles in counted)
    if not used:
        raise RequestError(f"--tiles: none of {len(chosen)} sampled row groups can be decoded")
    return _moments(np.sum([histogram for histogram, _ in counted], axis=0), used)


def _count(groups: RowGroups, group: int, rows: Sequence[int]) -> tuple[NDArray[np.int64], int]:
    """Histogram (3, 256) of some tiles, and how many could be decoded."""
    histogram = np.zeros((3, 256), np.int64)
    used = 0
    for data in groups.read_images(group, rows):
        try:
            tile = decode_image(data)
        except TileError:
            continue
        used += 1
        histogram += [np.bincount(tile[..., c].ravel(), minlength=256) for c in range(3)]
    return histogram, used


def _moments(histogram: NDArray[np.int64], tiles: int) -> Normalisation:
    share = histogram / histogram.sum(1, keepdims=True)
    levels = np.arange(256) / 255
    mean = share @ levels
    std = np.sqrt(((levels - mean[:, None]) ** 2 * share).sum(1))
    (red, green, blue), (red_std, green_std, blue_std) = mean.tolist(), std.tolist()
    return Normalisation((red, green, blue), (red_std, green_std, blue_std), tiles)
