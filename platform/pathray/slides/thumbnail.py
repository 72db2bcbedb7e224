"""A slide's thumbnail: the whole slide, reduced, without ever holding a level whole."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.errors import TileError
from pathray.slides.reader import Pixels, SlideInfo, SlideReader

TISSUE_MICRONS = 4.0
"""Wished size of a mask pixel: 1/14 of the side of a 224 px tile at 40x (56 µm), so a tile's
tissue share is good to a few percent, and about one nucleus, so lumina stay open."""
TISSUE_MAX_SIDE = 4096
"""Most pixels along a mask's longer side: 50 MB of RGB, and segmentation in well under 1 s."""
UNKNOWN_MPP_DOWNSAMPLE = 16.0
"""The downsample for `TISSUE_MICRONS` at 40x, taken where the slide does not say its mpp."""

_WINDOW = 2048
_SMALLEST_WINDOW = 256


@dataclass(frozen=True)
class Thumbnail:
    """A reduced slide: `pixels` uint8 (h, w, 3) RGB, anchored at the level-0 origin.

    `scale` is level-0 pixels per thumbnail pixel in x and y. `microns` is the size of a
    thumbnail pixel in µm; where the slide's mpp is unknown, 40x (0.25) is taken for it.
    `unread` bool (h, w) marks what could not be decoded; its pixels are background.
    """

    pixels: Pixels
    scale: tuple[float, float]
    microns: float
    unread: NDArray[np.bool_]


def tissue_downsample(info: SlideInfo, mpp: float | None) -> float:
    """Level-0 pixels per mask pixel that segmentation asks for, a power of two.

    The power of two nearest to `TISSUE_MICRONS` (2.8 to 5.7 µm), because pyramids and tile
    borders fall on powers of two; doubled until the longer side fits `TISSUE_MAX_SIDE`.
    """
    wished = TISSUE_MICRONS / mpp if mpp else UNKNOWN_MPP_DOWNSAMPLE
    downsample = 2.0 ** max(0, round(float(np.log2(wished))))
    while max(info.width, info.height) / downsample > TISSUE_MAX_SIDE:
        downsample *= 2
    return downsample


def read_thumbnail(reader: SlideReader, downsample: float, mpp: float | None = None) -> Thumbnail:
    """The whole slide at about `downsample` level-0 pixels per pixel.

    Taken from the coarsest pyramid level that is not (by more than 10%) coarser than asked,
    read in windows of at most 2,048 pixels and reduced by the nearest whole factor with area
    averaging. What cannot be decoded is narrowed down to 256 pixels and marked `unread`.
    `mpp` (default: what the slide says) only serves `microns`.
    """
    info = reader.info
    level = _adequate_level(info, downsample)
    factor = max(1, round(downsample / info.level_downsamples[level]))
    width, height = info.level_sizes[level]
    shape = (-(-height // factor), -(-width // factor))
    pixels = np.empty((*shape, 3), np.uint8)
    pixels[:] = info.background
    unread = np.zeros(shape, np.bool_)
    step = max(factor, _WINDOW // factor * factor)
    for y in range(0, height, step):
        for x in range(0, width, step):
            window = (x, y, min(step, width - x), min(step, height - y))
            _read_window(reader, level, window, factor, pixels, unread)
    scale = (info.width / width * factor, info.height / height * factor)
    microns = (mpp or info.mpp or 0.25) * (scale[0] * scale[1]) ** 0.5
    return Thumbnail(pixels, scale, microns, unread)


def _adequate_level(info: SlideInfo, downsample: float) -> int:
    fine = [i for i, d in enumerate(info.level_downsamples) if d <= downsample * 1.1]
    return max(fine, key=lambda i: info.level_downsamples[i], default=0)


def _read_window(
    reader: SlideReader,
    level: int,
    window: tuple[int, int, int, int],
    factor: int,
    pixels: Pixels,
    unread: NDArray[np.bool_],
) -> None:
    """Read a window of the level into the thumbnail, by quarters where it fails."""
    x, y, width, height = window
    rows = slice(y // factor, -(-(y + height) // factor))
    columns = slice(x // factor, -(-(x + width) // factor))
    try:
        pixels[rows, columns] = _reduce(reader.read(level, x, y, width, height), factor)
        return
    except TileError:
        if max(width, height) <= max(_SMALLEST_WINDOW, factor):
            unread[rows, columns] = True
            return
    half = max(factor, -(-max(width, height) // 2 // factor) * factor)
    for top in range(y, y + height, half):
        for left in range(x, x + width, half):
            size = (min(half, x + width - left), min(half, y + height - top))
            _read_window(reader, level, (left, top, *size), factor, pixels, unread)


def _reduce(window: Pixels, factor: int) -> Pixels:
    """Area average over factor x factor blocks; a partial block at the edge averages its own."""
    if factor == 1:
        return window
    import cv2

    height, width = window.shape[:2]
    reduced = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    full = (height // factor, width // factor)
    for rows in (slice(0, full[0]), slice(full[0], len(reduced))):
        for columns in (slice(0, full[1]), slice(full[1], reduced.shape[1])):
            block = reduced[rows, columns]
            if block.size:
                source = window[
                    rows.start * factor : rows.stop * factor,
                    columns.start * factor : columns.stop * factor,
                ]
                block[:] = cv2.resize(source, block.shape[1::-1], interpolation=cv2.INTER_AREA)
    return reduced
