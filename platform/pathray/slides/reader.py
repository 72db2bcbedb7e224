"""What a slide reader is: level geometry and pixels, nothing else.

A reader addresses pixels in the integer frame of one pyramid level, because tiles are cut
from a level without resampling; everything in level-0 coordinates is the grid's matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class SlideInfo:
    """What a slide says of itself.

    Sizes are (width, height) in pixels. `bounds` is (x, y, width, height) in the level-0
    frame: the scanned area, or the whole slide. `mpp` is microns per pixel of level 0 as
    the file states it, unchecked (see `mpp.py`), `mpp_source` the property it came from;
    both are None where the file says nothing. `background` is RGB.
    """

    width: int
    height: int
    level_sizes: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]
    bounds: tuple[int, int, int, int]
    mpp: float | None
    mpp_source: str | None
    background: tuple[int, int, int] = (255, 255, 255)


class SlideReader(Protocol):
    """An open slide. Not thread-safe; cheap enough that every task opens its own."""

    name: str
    """The backend that serves the slide; becomes the index column `reader`."""
    info: SlideInfo

    @property
    def bytes_read(self) -> int:
        """Bytes fetched from the slide's own store so far (headers included)."""
        ...

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """RGB of a window, uint8 (height, width, 3).

        `x, y, width, height` are pixels of `level`. What lies outside the level, is missing
        in the file or is transparent takes the background colour. Raises TileError when a
        part of the window cannot be decoded.
        """
        ...

    def read_squares(
        self, level: int, origins: NDArray[np.int64], side: int
    ) -> Iterator[Pixels | None]:
        """Squares of `side` pixels at `origins` (N, 2) of (x, y) in `level`, in that order.

        Yields uint8 (side, side, 3) for each origin, or None where it cannot be decoded. The
        caller gives origins in (y, x) order, so a reader may keep a moving window of what it
        has decoded. A yielded array may be reused by the next step: copy what you keep.
        """
        ...

    def close(self) -> None:
        """Free the file and its caches."""
        ...
