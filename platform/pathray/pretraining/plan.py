"""Which tiles make up batch k, and which of them a worker reads.

All epochs laid end to end are one endless sequence of tiles, and batch k is its tiles
[k * batch, (k + 1) * batch): the tail of an epoch is carried into the next, every batch is
full, every tile comes once an epoch. An epoch takes the row groups in a random order, a
*window* of them at a time. The tiles of a window are shuffled so that every stretch of it
takes from each of its row groups in proportion (stratified, jittered): batches are as mixed
as the window is wide, and evenly so.

Inside a batch, tiles are sorted by where their row group stands in its window, and a worker
takes a contiguous slice. What a batch holds does not depend on the number of workers, yet
nearly all tiles of a row group go to one worker, or to two where a border between slices
runs through it. A batch across the border of two windows is sorted in the same way, as a
share of each window's length, so that workers keep to their part of the row groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from pathray.pretraining.randomness import hashes, key, permutation
from pathray.pretraining.rowgroups import Longs, RowGroups

WINDOW_MB = 2048
"""Images of a window, in MB: some 90,000 tiles of 224 pixels from some 250 row groups."""
ROWS_BITS = 32
"""A tile's counter is its row group's number shifted by these, and its row."""


@dataclass(frozen=True)
class Window:
    """Tiles [start, start + R) of the endless sequence.

    `groups` (W,) its row groups and `share` (W,) where each stands in it, in 0..1 by tiles;
    `place` (R,) which of them a tile is from, `row` (R,) where in it.
    """

    number: int
    start: int
    groups: Longs
    share: NDArray[np.float64]
    place: Longs
    row: Longs

    @property
    def stop(self) -> int:
        return self.start + len(self.row)


@dataclass(frozen=True)
class Samples:
    """A worker's part of a batch. `index` (n,) the places in the effective batch.

    `window` and `place` (n,) say which reading of a row group a tile comes from; `group` and
    `row` (n,) which tile it is.
    """

    index: Longs
    window: Longs
    place: Longs
    group: Longs
    row: Longs

    def __len__(self) -> int:
        return len(self.index)

    def taken(self, which: Longs | slice) -> "Samples":
        """Some of the samples, or all in another order."""
        return Samples(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True)
class Reading:
    """One reading of a row group by one worker: `rows` are what it needs of it, `bytes` long."""

    window: int
    place: int
    group: int
    rows: Longs
    bytes: float


class Plan:
    """Batches of `batch` tiles as a pure function of (seed, k, batch) over the row groups."""

    def __init__(
        self, groups: RowGroups, batch: int, seed: int, window_mb: float = WINDOW_MB
    ) -> None:
        self.groups, self.batch_size, self.seed = groups, batch, seed
        self.window_bytes = min(int(window_mb * 1e6), groups.image_bytes)
        self.windows = min(len(groups), -(-groups.image_bytes // self.window_bytes))
        self._epoch = lru_cache(2)(self._lay_out_epoch)
        self._window = lru_cache(2)(self._fill_window)
        self._batch = lru_cache(2)(self._gather_batch)

    @property
    def tiles(self) -> int:
        """Tiles of an epoch."""
        return self.groups.tiles

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Samples:
        """The part of batch `step` that worker `rank` of `world` takes."""
        size = self.batch_size
        return self._batch(step).taken(slice(size * rank // world, size * (rank + 1) // world))

    def readings(
        self, rank: int = 0, world: int = 1, first: int = 0, stop: int | None = None
    ) -> Iterator[Reading]:
        """What worker `rank` reads for batches [first, stop), in the order of first need."""
        end = None if stop is None else stop * self.batch_size
        for window in self._overlapping(first * self.batch_size, end):
            begin = max(first, window.start // self.batch_size)
            until = -(-window.stop // self.batch_size)
            steps = range(begin, until if stop is None else min(until, stop))
            mine = _joined([self.batch(step, rank, world) for step in steps])
            yield from self._of_window(window, mine.taken(mine.window == window.number))

    def _of_window(self, window: Window, mine: Samples) -> Iterator[Reading]:
        places, first, counts = np.unique(mine.place, return_index=True, return_counts=True)
        rows = np.split(mine.row[np.argsort(mine.place, kind="stable")], np.cumsum(counts)[:-1])
        for i in np.argsort(first):
            group = int(window.groups[places[i]])
            cost = float(self.cost(group, len(rows[i])))
            yield Reading(window.number, int(places[i]), group, rows[i], cost)

    def cost(self, group: Longs | int, rows: int) -> NDArray[np.float64]:
        """About how many bytes `rows` images of a row group are."""
        groups = self.groups
        return (groups.stop[group] - groups.start[group]) * rows / groups.rows[group]

    def _overlapping(self, first: int, stop: int | None) -> Iterator[Window]:
        """The windows that hold tiles [first, stop) of the sequence."""
        epoch, offset = divmod(first, self.tiles)
        bounds = self._epoch(epoch)[1]
        number = epoch * self.windows + int(np.searchsorted(bounds, offset, side="right")) - 1
        while True:
            window = self._window(number)
            if stop is not None and max(first, window.start) >= stop:
                return
            yield window
            number += 1

    def _gather_batch(self, step: int) -> Samples:
        first, stop = step * self.batch_size, (step + 1) * self.batch_size
        parts, shares = zip(
            *(
                _samples(window, max(first, window.start), min(stop, window.stop))
                for window in self._overlapping(first, stop)
            ),
            strict=True,
        )
        batch = _joined(parts)
        order = np.lexsort((batch.place, batch.window, np.concatenate(shares)))
        return replace(batch.taken(order), index=np.arange(self.batch_size))

    def _lay_out_epoch(self, epoch: int) -> tuple[Longs, Longs, Longs]:
        """Row groups in order; where windows begin, in tiles of the epoch and in row groups."""
        order = permutation(key("row groups", self.seed, epoch), len(self.groups))
        cuts = np.arange(self.windows + 1) * len(order) // self.windows
        tiles = np.concatenate([[0], np.cumsum(self.groups.rows[order])])
        return order, tiles[cuts], cuts

    def _fill_window(self, number: int) -> Window:
        epoch, within = divmod(number, self.windows)
        order, bounds, cuts = self._epoch(epoch)
        groups = order[cuts[within] : cuts[within + 1]]
        start = epoch * self.tiles + int(bounds[within])
        rows = self.groups.rows[groups]
        share = (np.cumsum(rows) - rows / 2) / rows.sum()
        return Window(number, start, groups, share, *self._shuffled(epoch, groups))

    def _shuffled(self, epoch: int, groups: Longs) -> tuple[Longs, Longs]:
        """The tiles of some row groups, each group spread evenly over the whole."""
        rows = self.groups.rows[groups]
        place = np.repeat(np.arange(len(groups)), rows)
        rank = np.arange(len(place)) - np.repeat(np.cumsum(rows) - rows, rows)
        counters = torch.from_numpy((groups[place] << ROWS_BITS) + rank)
        order = hashes(key("rows", self.seed, epoch), counters).numpy()
        # A group's rows in random order: the k-th falls into the k-th of its equal stretches.
        row = rank[np.lexsort((order, place))]
        jitter = (hashes(key("jitter", self.seed, epoch), counters).numpy() >> 11) * 2.0**-53 + 0.5
        spread = np.argsort((rank + jitter) / rows[place], kind="stable")
        return place[spread], row[spread]


def _samples(window: Window, first: int, stop: int) -> tuple[Samples, NDArray[np.float64]]:
    """Tiles [first, stop) of the sequence, and what a batch is sorted by."""
    part = slice(first - window.start, stop - window.start)
    place, row = window.place[part], window.row[part]
    number = np.full(len(place), window.number)
    return Samples(number, number, place, window.groups[place], row), window.share[place]


def _joined(parts: Sequence[Samples]) -> Samples:
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Samples))
    return Samples(*map(np.concatenate, columns))
