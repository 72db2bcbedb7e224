"""Attention over a slide as a picture that lies on it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LONGEST_SIDE = 2048
"""Most pixels along the longer side of a whole heatmap."""

RGBA = NDArray[np.uint8]


def attention_ranks(attention: NDArray[np.floating]) -> NDArray[np.float32]:
    """The share of tiles (N,) in 0..1 that are attended less; equal tiles share a rank.

    Raw attention spans orders of magnitude: drawn as it is, a map is one bright tile.
    """
    from scipy.stats import rankdata

    if len(attention) < 2:
        return np.ones(len(attention), np.float32)
    ranks = rankdata(attention, method="average")
    return ((ranks - 1) / (len(attention) - 1)).astype(np.float32)


@dataclass(frozen=True)
class Heatmap:
    """Values in 0..1 of tiles on a slide of `width` x `height` level-0 pixels.

    x, y (N,) int32 are top-left corners on a grid of `stride0`, `side0` the tiles' side, all in
    level-0 pixels. Where tiles overlap, the map shows their mean.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    values: NDArray[np.float32]
    side0: int
    stride0: int
    width: int
    height: int

    def picture(self) -> RGBA:
        """The whole slide, uint8 (h, w, 4), at a longer side of at most 2,048 pixels."""
        scale = max(self.width, self.height) / LONGEST_SIDE
        # A tile need not be more than a few pixels; nor may a small slide be enlarged.
        scale = max(scale, self.stride0 / 8, 1.0)
        size = max(1, round(self.width / scale)), max(1, round(self.height / scale))
        return self.draw((0, 0, self.width, self.height), size)

    def draw(self, box: tuple[float, float, float, float], size: tuple[int, int]) -> RGBA:
        """RGBA, uint8 (h, w, 4), of `box` (x, y, width, height in level-0 pixels).

        `size` is (w, h). Transparent where there is no tile, opaque elsewhere, from blue (0)
        over green to red (1).
        """
        import cv2

        cells = self._cells
        columns = self._index(box[0], box[2], size[0], self._left, cells.shape[1])
        rows = self._index(box[1], box[3], size[1], self._top, cells.shape[0])
        values = cells[rows[:, None], columns[None, :]]
        drawn = ~np.isnan(values)
        levels = np.round(np.where(drawn, values, 0) * 255).astype(np.uint8)
        picture = np.zeros((size[1], size[0], 4), np.uint8)
        colours = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)
        picture[..., :3] = cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
        picture[..., 3] = drawn * 255
        picture[~drawn] = 0
        return picture

    @property
    def _left(self) -> int:
        return int(self.x.min(initial=self.width))

    @property
    def _top(self) -> int:
        return int(self.y.min(initial=self.height))

    @cached_property
    def _cells(self) -> NDArray[np.float32]:
        """The grid's squares of `stride0`, nan where there is no tile, framed by nan."""
        columns = (self.x - self._left) // self.stride0
        rows = (self.y - self._top) // self.stride0
        reach = max(1, round(self.side0 / self.stride0))
        shape = (int(rows.max(initial=-1)) + reach + 2, int(columns.max(initial=-1)) + reach + 2)
        total, count = np.zeros(shape), np.zeros(shape)
        for down in range(reach):
            for across in range(reach):
                where = (rows + 1 + down, columns + 1 + across)
                np.add.at(total, where, self.values)
                np.add.at(count, where, 1)
        covered = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return covered.astype(np.float32)

    def _index(
        self, start: float, length: float, pixels: int, origin: int, cells: int
    ) -> NDArray[np.int64]:
        """The cell that each pixel's centre lies in; the frame's for those outside."""
        centres = start + (np.arange(pixels) + 0.5) * length / pixels
        found = np.floor((centres - origin) / self.stride0).astype(np.int64) + 1
        return np.clip(found, 0, cells - 1)


def encode_png(picture: RGBA) -> bytes:
    """PNG of RGBA or RGB pixels, uint8 (h, w, 4 or 3)."""
    import imagecodecs

    return bytes(imagecodecs.png_encode(np.ascontiguousarray(picture), level=6))
