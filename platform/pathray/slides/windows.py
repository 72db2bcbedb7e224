"""The moving window: which source tiles each asked window needs, and when to let them go.

The whole course is known before the first byte is fetched, so each source tile is fetched
and decoded once, and dropped after its last use.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathray.errors import TileError
from pathray.slides.reader import Pixels
from pathray.slides.tilestream import Tile, TileStream

HELD_BYTES = 256 << 20
"""Decoded tiles kept for later windows. Only where a row of very large tiles exceeds it are
tiles decoded again for the next row of windows."""


class Step(NamedTuple):
    """One source tile in one window: load it first, or it is held; keep it, or drop it."""

    tile: int
    load: bool
    keep: bool


@dataclass(frozen=True)
class Grid:
    """The tiles of a level, numbered row by row; all sizes in pixels of the level."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    across: int

    def contains(self, x: int, y: int, width: int, height: int) -> bool:
        """Whether a window lies in the level as a whole."""
        return x >= 0 and y >= 0 and x + width <= self.width and y + height <= self.height

    def cover(self, x: int, y: int, width: int, height: int) -> list[int]:
        """The tiles that a window touches, row by row; none outside the level."""
        left, right = max(x, 0), min(x + width, self.width)
        top, bottom = max(y, 0), min(y + height, self.height)
        if left >= right or top >= bottom:
            return []
        columns = range(left // self.tile_width, (right - 1) // self.tile_width + 1)
        rows = range(top // self.tile_height, (bottom - 1) // self.tile_height + 1)
        return [row * self.across + column for row in rows for column in columns]


def plan_windows(
    grid: Grid, origins: NDArray[np.int64], width: int, height: int
) -> list[list[Step]]:
    """The steps of each window of `width` x `height` at `origins` (N, 2) of (x, y).

    Tiles are first loaded in the order of the windows, so the loads are also the order in
    which their bytes should be fetched.
    """
    covers = [grid.cover(x, y, width, height) for x, y in origins.tolist()]
    last_use = {tile: index for index, cover in enumerate(covers) for tile in cover}
    limit = max(4, HELD_BYTES // (grid.tile_width * grid.tile_height * 3))
    held: set[int] = set()
    plan = []
    for index, cover in enumerate(covers):
        steps = []
        for tile in cover:
            load = tile not in held
            keep = last_use[tile] > index and (not load or len(held) < limit)
            if keep:
                held.add(tile)
            else:
                held.discard(tile)
            steps.append(Step(tile, load, keep))
        plan.append(steps)
    return plan


class MovingWindow:
    """Draws the planned windows, in order, from a stream of the tiles they load."""

    def __init__(
        self, grid: Grid, stream: TileStream, out: Pixels, background: tuple[int, int, int]
    ) -> None:
        self._grid = grid
        self._stream = stream
        self._out = out
        self._background = background
        self._held: dict[int, Tile] = {}
        self._lent: Pixels | None = None

    def draw(self, x: int, y: int, steps: list[Step]) -> Pixels | TileError:
        """The window at (x, y): `out`, or a view of the one tile that holds all of it.

        Valid until the next call. A TileError when any of its tiles cannot be decoded.
        """
        if self._lent is not None:
            self._stream.give_back(self._lent)
            self._lent = None
        out, lost = self._out, None
        whole = self._grid.contains(x, y, out.shape[1], out.shape[0])
        if not whole:
            out[...] = self._background
        for step in steps:
            tile = self._take(step)
            if isinstance(tile, TileError):
                lost = tile
            elif whole and len(steps) == 1 and tile is not None:
                out = self._view(tile, x, y)
                self._lent = None if step.keep else tile
            else:
                self._paste(step.tile, tile, x, y)
                if tile is not None and not step.keep:
                    self._stream.give_back(tile)
        return lost or out

    def _take(self, step: Step) -> Tile:
        tile = self._stream.next() if step.load else self._held.pop(step.tile)
        if step.keep:
            self._held[step.tile] = tile
        return tile

    def _view(self, tile: Pixels, x: int, y: int) -> Pixels:
        top, left = y % self._grid.tile_height, x % self._grid.tile_width
        return tile[top : top + self._out.shape[0], left : left + self._out.shape[1]]

    def _paste(self, number: int, tile: Pixels | None, x: int, y: int) -> None:
        grid, out = self._grid, self._out
        row, column = divmod(number, grid.across)
        tile_y, tile_x = row * grid.tile_height, column * grid.tile_width
        left, top = max(x, tile_x), max(y, tile_y)
        right = min(x + out.shape[1], tile_x + grid.tile_width, grid.width)
        bottom = min(y + out.shape[0], tile_y + grid.tile_height, grid.height)
        patch = out[top - y : bottom - y, left - x : right - x]
        if tile is None:
            patch[...] = self._background
        else:
            patch[...] = tile[top - tile_y : bottom - tile_y, left - tile_x : right - tile_x]
