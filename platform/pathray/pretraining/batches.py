"""A worker's tiles, micro-batch after micro-batch: read, decoded and waiting when asked for."""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from pathray.errors import SlideError, TileError
from pathray.pretraining.plan import Plan, Reading, Samples
from pathray.pretraining.rowgroups import Longs, RowGroups
from pathray.slides.reader import Pixels
from pathray.tilestore import decode_image

READERS = 4
"""Row groups being fetched at once; each holds its 8 MB some three times while it is."""
READ_AHEAD_BYTES = 64 << 20
"""What may be held beyond a window's images, so that the next window is there when it begins."""
DECODERS = 8
"""Threads that decode, on a machine with as many cores: some 4,000 tiles of 224 px/s each."""
DECODED_AHEAD = 2
"""Micro-batches that are decoded before they are asked for."""

Images = dict[int, bytes]
"""Stored images of a row group by row."""


@dataclass(frozen=True)
class TileBatch:
    """A micro-batch of batch `step`.

    `tiles` (b, H, W, 3) uint8 RGB; `index` (b,) int64, the tiles' places in the effective
    batch (what their randomness depends on); `last` ends the step; `waited` are the
    seconds that `next()` took; `lost` are tiles that could not be decoded and were replaced by
    the next sound one of their row group.
    """

    step: int
    tiles: torch.Tensor
    index: torch.Tensor
    last: bool
    waited: float
    lost: tuple[str, ...]


@dataclass(frozen=True)
class _Pending:
    step: int
    tiles: torch.Tensor
    samples: Samples
    last: bool
    bytes: float
    parts: list[Future[list[str]]]


class Batches:
    """Iterates over worker `rank`'s tiles of batches [first, stop); endless without `stop`.

    Memory: the worker's share of a window of the plan and 64 MB of compressed images, the
    row groups being fetched, and three decoded micro-batches. Errors of the threads come out
    of `next()`: SlideError for a shard that cannot be read, after which nothing more comes.
    Use as a context manager, or `close()` it; not shared between threads.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        rank: int = 0,
        world: int = 1,
        first: int = 0,
        stop: int | None = None,
        micro_batch: int | None = None,
        threads: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        self._plan, self._pin = plan, pin_memory
        self._micro = micro_batch or plan.batch_size
        self._coming = self._cut(rank, world, first, stop)
        self._readings = plan.readings(rank, world, first, stop)
        share = plan.window_bytes // world
        self._limit = share + min(share, READ_AHEAD_BYTES)
        self.held_bytes = 0.0
        """Compressed images fetched, or being fetched, and not yet handed over."""
        self._images: dict[tuple[int, int], Future[Images]] = {}
        self._ready: deque[_Pending] = deque()
        self._threads = threads or min(DECODERS, os.cpu_count() or 1)
        self._fetching = ThreadPoolExecutor(READERS, thread_name_prefix="row-groups")
        self._decoding = ThreadPoolExecutor(self._threads, thread_name_prefix="decode-tiles")

    def __iter__(self) -> Iterator[TileBatch]:
        return self

    def __next__(self) -> TileBatch:
        started = time.perf_counter()
        try:
            self._run_ahead()
            if not self._ready:
                raise StopIteration
            pending = self._ready.popleft()
            lost = [name for part in pending.parts for name in part.result()]
        except BaseException:
            self.close()
            raise
        self.held_bytes -= pending.bytes
        return TileBatch(
            pending.step,
            pending.tiles,
            torch.from_numpy(pending.samples.index),
            pending.last,
            time.perf_counter() - started,
            tuple(lost),
        )

    def close(self) -> None:
        """Stop the threads; waits for the fetches that are under way."""
        self._coming = iter(())
        self._ready.clear()
        self._fetching.shutdown(cancel_futures=True)
        self._decoding.shutdown(cancel_futures=True)

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(
        self, rank: int, world: int, first: int, stop: int | None
    ) -> Iterator[tuple[int, Samples, bool]]:
        """The micro-batches to come: their step, their samples, whether they end it."""
        step = first
        while stop is None or step < stop:
            mine = self._plan.batch(step, rank, world)
            if len(mine):
                self._forget_before(int(mine.window.min()))
            for start in range(0, len(mine), self._micro):
                until = start + self._micro
                yield step, mine.taken(slice(start, until)), until >= len(mine)
            step += 1

    def _run_ahead(self) -> None:
        while len(self._ready) <= DECODED_AHEAD:
            coming = next(self._coming, None)
            if coming is None:
                return
            self._ready.append(self._start(*coming))
        while self.held_bytes < self._limit:
            reading = next(self._readings, None)
            if reading is None:
                return
            self._fetch(reading)

    def _start(self, step: int, samples: Samples, last: bool) -> _Pending:
        """Begin to decode a micro-batch, whose row groups are fetched whatever is held already."""
        readings = list(zip(samples.window.tolist(), samples.place.tolist(), strict=True))
        for at in readings:
            if at not in self._images:
                self._fetch_until(at)
        images = [self._images[reading] for reading in readings]
        side, n = self._plan.groups.tile_size, len(samples)
        tiles = torch.empty((n, side, side, 3), dtype=torch.uint8, pin_memory=self._pin)
        cuts = [n * i // self._threads for i in range(self._threads + 1)]
        parts = [
            self._decoding.submit(
                _decode,
                self._plan.groups,
                images[a:b],
                samples.group[a:b],
                samples.row[a:b],
                tiles.numpy()[a:b],
            )
            for a, b in pairwise(cuts)
            if a < b
        ]
        cost = float(self._plan.cost(samples.group, 1).sum())
        return _Pending(step, tiles, samples, last, cost, parts)

    def _fetch_until(self, at: tuple[int, int]) -> None:
        for reading in self._readings:
            self._fetch(reading)
            if at in self._images:
                return

    def _fetch(self, reading: Reading) -> None:
        self.held_bytes += reading.bytes
        at = (reading.window, reading.place)
        self._images[at] = self._fetching.submit(
            _fetch, self._plan.groups, reading.group, reading.rows
        )

    def _forget_before(self, window: int) -> None:
        for at in [at for at in self._images if at[0] < window]:
            del self._images[at]


def _fetch(groups: RowGroups, group: int, rows: Longs) -> Images:
    return dict(zip(rows.tolist(), groups.read_images(group, rows), strict=True))


def _decode(
    groups: RowGroups,
    images: Sequence[Future[Images]],
    group: Longs,
    row: Longs,
    out: Pixels,
) -> list[str]:
    """Decode some tiles into `out`; returns the names of those that were replaced."""
    lost = []
    for i, (of, g, r) in enumerate(zip(images, group.tolist(), row.tolist(), strict=True)):
        data = of.result().pop(r)  # its memory is free once it is decoded
        try:
            out[i] = _decoded(data, groups, g, r)
        except TileError:
            lost.append(groups.name(g, r))
            out[i] = _next_sound(groups, g, r)
    return lost


def _decoded(data: bytes, groups: RowGroups, group: int, row: int) -> Pixels:
    tile = decode_image(data)
    side = groups.tile_size
    if tile.shape != (side, side, 3):
        raise SlideError(
            f"{groups.name(group, row)} is {tile.shape[1]} x {tile.shape[0]} pixels, "
            f"not {side} x {side} as its shard says: tile the slide again"
        )
    return tile


def _next_sound(groups: RowGroups, group: int, row: int) -> Pixels:
    """The next tile of the row group that can be decoded.

    Which one it is depends on the shard alone, and not on what this worker reads.
    """
    images = groups.read_images(group)
    for other in (np.arange(row + 1, row + len(images)) % len(images)).tolist():
        try:
            return _decoded(images[other], groups, group, other)
        except TileError:
            continue
    raise SlideError(f"{groups.name(group, row)}: no tile of the row group can be decoded")
