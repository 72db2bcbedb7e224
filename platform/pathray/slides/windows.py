"""The moving window: which source tiles each asked window needs, and when to let them go.

The whole course is known before the first byte is fetched, so each source tile is fetched
and decoded once, and dropped after its last use.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pathray.errors import TileError
from pathray.slides.reader import Pixels
from pathray.slides.tilestream import Tile, TileStream

HELD_BYTES = 256 << 20
"""Decoded tiles kept for later windows. Only where a row of very large tiles exceeds it are
tiles decoded again for the next row of windows."""


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

    def cover(
        self, origins: NDArray[np.int64], width: int, height: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tiles that each window touches, row by row, none outside the level.

        Returns the tiles of all windows behind one another, and how many each has (N,).
        """
        left, top = np.maximum(origins, 0).T
        right = np.minimum(origins[:, 0] + width, self.width)
        bottom = np.minimum(origins[:, 1] + height, self.height)
        seen = (left < right) & (top < bottom)
        column, row = left // self.tile_width, top // self.tile_height
        columns = np.where(seen, (right - 1) // self.tile_width - column + 1, 0)
        counts = columns * np.where(seen, (bottom - 1) // self.tile_height - row + 1, 0)
        starts = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(starts, counts)
        down, across = np.divmod(within, np.repeat(columns, counts))
        rows, cols = np.repeat(row, counts) + down, np.repeat(column, counts) + across
        return rows * self.across + cols, counts


@dataclass(frozen=True)
class Course:
    """The steps of all windows behind one another: one source tile in one window each.

    A step loads its tile first, or finds it held; keeps it for a later window, or drops it.
    Flat arrays, because a large piece has ten thousand steps: as objects of their own they
    would cost the garbage collector more than decoding a tenth of the tiles.
    """

    origins: NDArray[np.int64]
    counts: NDArray[np.int64]
    tiles: NDArray[np.int64]
    load: NDArray[np.bool_]
    keep: NDArray[np.bool_]

    @property
    def loads(self) -> NDArray[np.int64]:
        """The tiles in the order in which they are loaded, and their bytes should be fetched."""
        return self.tiles[self.load]


def plan_windows(grid: Grid, origins: NDArray[np.int64], width: int, height: int) -> Course:
    """The course of windows of `width` x `height` at `origins` (N, 2) of (x, y)."""
    tiles, counts = grid.cover(origins, width, height)
    limit = max(4, HELD_BYTES // (grid.tile_width * grid.tile_height * 3))
    load, keep = np.zeros(len(tiles), bool), np.ones(len(tiles), bool)
    load[np.unique(tiles, return_index=True)[1]] = True
    keep[len(tiles) - 1 - np.unique(tiles[::-1], return_index=True)[1]] = False
    held = np.cumsum((load & keep).astype(int) - (~load & ~keep))
    if held.max(initial=0) > limit:
        load, keep = _bounded(tiles, ~keep, limit)
    return Course(origins, counts, tiles, load, keep)


def _bounded(
    tiles: NDArray[np.int64], last: NDArray[np.bool_], limit: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """`load` and `keep` where not all tiles that are needed again can be held."""
    load, keep = np.zeros(len(tiles), bool), np.zeros(len(tiles), bool)
    held: set[int] = set()
    for step, (tile, is_last) in enumerate(zip(tiles.tolist(), last.tolist(), strict=True)):
        load[step] = tile not in held
        keep[step] = not is_last and (not load[step] or len(held) < limit)
        (held.add if keep[step] else held.discard)(tile)
    return load, keep


class MovingWindow:
    """Draws the windows of a course from a stream of the tiles it loads."""

    def __init__(
        self,
        grid: Grid,
        course: Course,
        stream: TileStream,
        out: Pixels,
        background: tuple[int, int, int],
    ) -> None:
        self._grid = grid
        self._course = course
        self._stream = stream
        self._out = out
        self._background = background
        self._held: dict[int, Tile] = {}
        self._lent: Pixels | None = None

    def __iter__(self) -> Iterator[Pixels | TileError]:
        """The windows in order: `out`, or a view of the one tile that holds all of it.

        Each is valid until the next. A TileError when any of its tiles cannot be decoded.
        """
        course = self._course
        steps = zip(course.tiles.tolist(), course.load.tolist(), course.keep.tolist(), strict=True)
        for (x, y), count in zip(course.origins.tolist(), course.counts.tolist(), strict=True):
            yield self._draw(x, y, islice(steps, count), alone=count == 1)
            if self._lent is not None:
                self._stream.give_back(self._lent)
                self._lent = None

    def _draw(
        self, x: int, y: int, steps: Iterable[tuple[int, bool, bool]], alone: bool
    ) -> Pixels | TileError:
        out, lost = self._out, None
        whole = self._grid.contains(x, y, out.shape[1], out.shape[0])
        if not whole:
            out[...] = self._background
        for number, load, keep in steps:
            tile = self._stream.next() if load else self._held.pop(number)
            if keep:
                self._held[number] = tile
            if isinstance(tile, TileError):
                lost = tile
            elif whole and alone and tile is not None:
                out = self._view(tile, x, y)
                self._lent = None if keep else tile
            else:
                self._paste(number, tile, x, y)
                if tile is not None and not keep:
                    self._stream.give_back(tile)
        return lost or out

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
