"""Which tiles a slide is cut into, and how each is read. Pure geometry, vectorised.

Tile corners are level-0 pixels; `side0` is a tile's side there.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathray.errors import SlideError
from pathray.slides.reader import SlideInfo

PIECE_PIXELS = 512 * 224 * 224
"""Pixels of a piece: 512 tiles of 224 px, 77 MB of RGB."""


@dataclass(frozen=True)
class Sampling:
    """How tiles lie on one slide and from which level they are cut.

    A tile covers `side0` level-0 pixels; corners are `stride0` apart. It is read from
    `level` as `read_side` pixels and, where that is not the tile size, resampled once to it.
    `mpp` is the true microns per pixel of the finished tile.
    """

    level: int
    downsample: float
    side0: int
    stride0: int
    read_side: int
    tile_size: int
    mpp: float

    @property
    def resampled(self) -> bool:
        return self.read_side != self.tile_size

    def level_origins(self, x: NDArray[np.int32], y: NDArray[np.int32]) -> NDArray[np.int64]:
        """Corners in pixels of `level`, (N, 2): `round(x / d), round(y / d)`."""
        corners = np.stack([x, y], axis=1).astype(np.float64)
        return np.rint(corners / self.downsample).astype(np.int64)


def choose_sampling(
    info: SlideInfo,
    slide_mpp: float,
    *,
    tile_size: int,
    stride: int | None = None,
    mpp: float | Literal["native"] = "native",
    tolerance: float = 0.1,
    allow_upsample: bool = False,
) -> Sampling:
    """Level, side and stride for tiles of `tile_size` at `mpp`.

    A level within `tolerance` of the asked mpp is cut unresampled (the closest one wins);
    else the nearest finer level is reduced. Raises SlideError for a slide coarser than asked,
    unless `allow_upsample`.
    """
    factor = 1.0 if mpp == "native" else mpp / slide_mpp
    downsamples = info.level_downsamples
    level = min(range(len(downsamples)), key=lambda i: abs(downsamples[i] - factor))
    if mpp == "native":
        level = 0
    d = downsamples[level]
    if abs(d - factor) <= tolerance * factor:
        side0, read_side, true_mpp = round(tile_size * d), tile_size, slide_mpp * d
    else:
        side0 = round(tile_size * factor)
        if factor < 1 and not allow_upsample:
            raise SlideError(
                f"the slide ({slide_mpp:g} mpp) is coarser than the asked {mpp:g} mpp: "
                "ask for a larger --mpp or give --allow-upsample"
            )
        finer = [i for i, down in enumerate(downsamples) if down <= factor] or [0]
        level = max(finer, key=lambda i: downsamples[i])
        d = downsamples[level]
        read_side, true_mpp = max(1, round(side0 / d)), slide_mpp * side0 / tile_size
    stride0 = side0 if stride is None else max(1, round(side0 * stride / tile_size))
    return Sampling(level, d, side0, stride0, read_side, tile_size, true_mpp)


def lay_grid(
    bounds: tuple[int, int, int, int], sampling: Sampling
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Corners x, y (N,) in level-0 pixels of all whole tiles inside `bounds`, in (y, x) order."""
    left, top, width, height = bounds
    side0, stride0 = sampling.side0, sampling.stride0
    xs = np.arange(left, left + width - side0 + 1, stride0, dtype=np.int32)
    ys = np.arange(top, top + height - side0 + 1, stride0, dtype=np.int32)
    y, x = np.meshgrid(ys, xs, indexing="ij")
    return x.ravel(), y.ravel()


def sample_tiles(n: int, wanted: int | None, slide_id: str, seed: int) -> NDArray[np.int64]:
    """Indices (sorted) of `wanted` of `n` tiles, a pure function of seed and slide_id."""
    if wanted is None or wanted >= n:
        return np.arange(n)
    digest = hashlib.sha256(slide_id.encode()).digest()
    generator = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    return np.sort(generator.choice(n, size=wanted, replace=False))


def split_into_pieces(n_tiles: int, tile_size: int) -> list[tuple[int, int]]:
    """Ranges [start, stop) of tiles in (y, x) order, of equal length but for the last.

    A slide without tiles is one piece of none, so that it leaves an object like any other.
    """
    length = max(1, PIECE_PIXELS // tile_size**2)
    starts = range(0, max(1, n_tiles), length)
    return [(start, min(start + length, n_tiles)) for start in starts]
