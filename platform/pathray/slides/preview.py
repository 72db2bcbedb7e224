"""A picture of what will be cut from a slide: thumbnail, tissue outline, kept tiles."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathray.slides.reader import Pixels, SlideReader
from pathray.slides.thumbnail import Thumbnail, read_thumbnail
from pathray.slides.tissue_mask import TissueMask

OUTLINE = (0, 70, 60)
TILE = (0, 105, 190)
CAPTION_INK = (60, 60, 60)
CAPTION_PAPER = (250, 250, 250)
LONGEST_SIDE = 1600
FILL_OPACITY = 0.10
LINE_OPACITY = 0.65
SMALLEST_LINED_TILE = 7
"""Pixels: the borders of smaller tiles would cover the picture, so only their fill is drawn."""


def preview_thumbnail(reader: SlideReader) -> Thumbnail:
    """The slide at a longer side of about 1,600 pixels, what `draw_preview` is drawn on."""
    longest = max(reader.info.width, reader.info.height)
    return read_thumbnail(reader, max(1.0, longest / LONGEST_SIDE))


def draw_preview(
    thumbnail: Pixels,
    scale: tuple[float, float],
    mask: TissueMask,
    x: ArrayLike,
    y: ArrayLike,
    side0: float,
    caption: str = "",
) -> bytes:
    """PNG of the slide with its tissue outlined in green and the kept tiles laid over in blue.

    `thumbnail` uint8 (h, w, 3) RGB with `scale` level-0 pixels per thumbnail pixel in x and y
    is reduced to a longer side of 1,600 pixels where it is larger. `x`, `y` (N,) are top-left
    corners of the kept tiles and `side0` their side, in level-0 pixels. `caption` (slide,
    number of tiles, mpp) stands in a strip below the picture; an empty one leaves it out.
    """
    import cv2

    shrink = min(1.0, LONGEST_SIDE / max(thumbnail.shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in thumbnail.shape[:2])
    picture: Pixels = cv2.resize(thumbnail, (width, height), interpolation=cv2.INTER_AREA)
    drawn = (
        scale[0] * thumbnail.shape[1] / width,
        scale[1] * thumbnail.shape[0] / height,
    )
    _lay_tiles(picture, np.asarray(x, np.float64), np.asarray(y, np.float64), side0, drawn)
    _outline(picture, mask, drawn)
    if caption:
        picture = np.vstack([picture, _caption_strip(caption, width)])
    _, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return bytes(png)


def _lay_tiles(
    picture: Pixels,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    side0: float,
    scale: tuple[float, float],
) -> None:
    """Tint the tiles' area, and draw their borders where tiles are large enough to be seen."""
    height, width = picture.shape[:2]
    left, right = (_pixel(v / scale[0], width) for v in (x, x + side0))
    top, bottom = (_pixel(v / scale[1], height) for v in (y, y + side0))
    # Corners in a difference image: two running sums fill every square at once.
    steps = np.zeros((height + 1, width + 1), np.int32)
    for rows, columns, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1)):
        np.add.at(steps, (rows, columns), sign)
    np.add.at(steps, (bottom, right), 1)
    covered = (steps.cumsum(axis=0).cumsum(axis=1) > 0)[:height, :width]
    _blend(picture, covered, TILE, FILL_OPACITY)
    if side0 / max(scale) >= SMALLEST_LINED_TILE:
        lines = np.zeros((height, width), np.bool_)
        for x0, x1, y0, y1 in zip(left, right, top, bottom, strict=True):
            x1, y1 = min(x1, width - 1), min(y1, height - 1)
            lines[y0 : y1 + 1, [x0, x1]] = True
            lines[[y0, y1], x0 : x1 + 1] = True
        _blend(picture, lines, TILE, LINE_OPACITY * min(1.0, side0 / max(scale) / 24))


def _pixel(position: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    return np.clip(np.round(position), 0, size).astype(np.int64)


def _blend(
    picture: Pixels, where: NDArray[np.bool_], colour: tuple[int, int, int], opacity: float
) -> None:
    mixed = picture[where] * (1 - opacity) + np.array(colour) * opacity
    picture[where] = np.round(mixed).astype(np.uint8)


def _outline(picture: Pixels, mask: TissueMask, scale: tuple[float, float]) -> None:
    """Draw the mask's borders, holes included, as thin smooth lines."""
    import cv2

    parts, _ = cv2.findContours(
        mask.pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    zoom = np.array([mask.scale[0] / scale[0], mask.scale[1] / scale[1]])
    fine = 1 << 4
    # Holes and shreds of less than about 12 x 12 pixels would be ink, not outline.
    lines = [
        np.round(((part + 0.5) * zoom - 0.5) * fine).astype(np.int32)
        for part in parts
        if cv2.contourArea(part) * zoom.prod() > 144
    ]
    cv2.polylines(picture, lines, True, OUTLINE, 1, cv2.LINE_AA, shift=4)


def _caption_strip(caption: str, width: int) -> Pixels:
    """The caption on a light strip, uint8 (h, width, 3), set smaller where it would not fit."""
    import cv2

    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.55
    (length, _), _ = cv2.getTextSize(caption, font, size, 1)
    size *= min(1.0, (width - 24) / max(length, 1))
    strip = np.full((36, width, 3), CAPTION_PAPER, np.uint8)
    cv2.putText(strip, caption, (12, 23), font, size, CAPTION_INK, 1, cv2.LINE_AA)
    return strip
