"""Where a slide's tissue is, and how much of each tile it fills."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class TissueMask:
    """A tissue mask over the level-0 frame: `pixels` bool (h, w), True where tissue is.

    `scale` is level-0 pixels per mask pixel in x and y: mask pixel (row, column) covers
    level-0 x in [column, column + 1) * scale[0] and y in [row, row + 1) * scale[1]. There is
    no tissue outside the mask.
    """

    pixels: NDArray[np.bool_]
    scale: tuple[float, float]

    def fraction(self, x: ArrayLike, y: ArrayLike, side0: float) -> NDArray[np.float32]:
        """Share of tissue, float32 (N,) in 0..1, in the squares of side `side0` at `x`, `y`.

        `x`, `y` (N,) are top-left corners and `side0` the side, in level-0 pixels. The area
        is exact for the piecewise-constant mask, mask pixels cut by a border included; the
        denominator is the whole square even where it leaves the slide.
        """
        left, top = (np.asarray(v, np.float64) for v in (x, y))
        x0, x1 = left / self.scale[0], (left + side0) / self.scale[0]
        y0, y1 = top / self.scale[1], (top + side0) / self.scale[1]
        tissue = self._area(x1, y1) - self._area(x0, y1) - self._area(x1, y0) + self._area(x0, y0)
        whole = side0 / self.scale[0] * side0 / self.scale[1]
        return np.clip(tissue / whole, 0.0, 1.0).astype(np.float32)

    @cached_property
    def _integral(self) -> NDArray[np.int32]:
        """Tissue pixels above and left of each mask pixel's corner, int32 (h + 1, w + 1)."""
        height, width = self.pixels.shape
        integral = np.zeros((height + 1, width + 1), np.int32)
        np.cumsum(self.pixels, axis=0, dtype=np.int32, out=integral[1:, 1:])
        np.cumsum(integral[1:, 1:], axis=1, out=integral[1:, 1:])
        return integral

    def _area(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tissue area above and left of points in the mask's frame, in mask pixels.

        Inside a mask pixel the area is bilinear in x and y, so bilinear lookup is exact.
        """
        height, width = self.pixels.shape
        x, y = np.clip(x, 0, width), np.clip(y, 0, height)
        column = np.minimum(x.astype(np.int64), width - 1)
        row = np.minimum(y.astype(np.int64), height - 1)
        u, v = x - column, y - row
        table = self._integral
        upper = table[row, column] * (1 - u) + table[row, column + 1] * u
        lower = table[row + 1, column] * (1 - u) + table[row + 1, column + 1] * u
        area: NDArray[np.float64] = upper * (1 - v) + lower * v
        return area
