"""Slides drawn in memory for the tests, behind the reader's interface."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pathray.errors import TileError
from pathray.slides.reader import Pixels, SlideInfo

GLASS = (243, 242, 245)
EOSIN = (214, 130, 178)
NUCLEI = (104, 78, 150)


class DrawnSlide:
    """A single-level slide over an array; reads that touch `broken` level-0 boxes fail."""

    name = "drawn"
    bytes_read = 0

    def __init__(
        self,
        pixels: Pixels,
        mpp: float | None = 0.25,
        bounds: tuple[int, int, int, int] | None = None,
        broken: tuple[int, int, int, int] | None = None,
    ) -> None:
        height, width = pixels.shape[:2]
        self._pixels = pixels
        self._broken = broken
        self.largest_read = 0
        self.info = SlideInfo(
            width,
            height,
            ((width, height),),
            (1.0,),
            bounds or (0, 0, width, height),
            mpp,
            "test",
        )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        assert level == 0
        self.largest_read = max(self.largest_read, width * height)
        if self._broken:
            left, top, wide, high = self._broken
            if x < left + wide and left < x + width and y < top + high and top < y + height:
                raise TileError("broken")
        return self._pixels[y : y + height, x : x + width]

    def read_squares(
        self, level: int, origins: NDArray[np.int64], side: int
    ) -> Iterator[Pixels | None]:
        for x, y in origins.tolist():
            yield self.read(level, x, y, side, side)

    def close(self) -> None:
        pass


def plain(width: int, height: int, colour: tuple[int, int, int] = GLASS, seed: int = 0) -> Pixels:
    """A slide of one colour with a scanner's noise, uint8 (height, width, 3)."""
    noise = np.random.default_rng(seed).integers(-3, 4, (256, 256, 3))
    patch = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    return np.tile(patch, (height // 256 + 1, width // 256 + 1, 1))[:height, :width].copy()


def paint(
    pixels: Pixels, x: int, y: int, width: int, height: int, colour: tuple[int, int, int]
) -> None:
    """Fill a box with a colour, with noise."""
    pixels[y : y + height, x : x + width] = plain(width, height, colour, seed=x + y)
