"""Dynamic batches: tiles of many requests share passes of one network.

Ray's `serve.batch` closes a batch some time after its first request even while the network is
busy, so that a loaded encoder gets many small batches. Here the next batch is taken when the
network is free: under load it is then full, without waiting. An idle network may be told to
wait a few milliseconds for more. A request alone is cut like a piece of the batch jobs.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.slides.reader import Pixels

Vectors = NDArray[np.float32]


@dataclass
class _Asked:
    """A request: its tiles (n, H, W, 3), how many are taken, the vectors so far."""

    tiles: Pixels
    answer: "asyncio.Future[Vectors]"
    taken: int = 0
    done: int = 0
    vectors: Vectors | None = None

    @property
    def waiting(self) -> int:
        return len(self.tiles) - self.taken


class TileBatcher:
    """Runs `encode` on batches of at most `size` tiles, one after another.

    An idle encoder waits `wait_seconds`, 0 for not at all, for a batch to fill. Tiles of
    different sizes never share a batch. Everything here happens on one event loop.
    """

    def __init__(
        self, encode: Callable[[Pixels], Awaitable[Vectors]], size: int, wait_seconds: float
    ) -> None:
        self._encode, self._size, self._wait = encode, size, wait_seconds
        self._queue: deque[_Asked] = deque()
        self._full = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def embed(self, tiles: Pixels) -> Vectors:
        """Vectors (n, D), n > 0. Fails alone where the network fails on the request's batch."""
        asked = _Asked(tiles, asyncio.get_running_loop().create_future())
        self._queue.append(asked)
        if self._tiles_waiting() >= self._size:
            self._full.set()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await asked.answer

    async def _run(self) -> None:
        try:
            if self._wait and self._tiles_waiting() < self._size:
                self._full.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._wait)
            while batch := self._take():
                await self._pass(batch)
        finally:
            self._running = None

    def _tiles_waiting(self) -> int:
        return sum(asked.waiting for asked in self._queue)

    def _take(self) -> list[tuple[_Asked, Pixels]]:
        """The next batch: parts of requests in the order they came."""
        batch: list[tuple[_Asked, Pixels]] = []
        room = self._size
        while self._queue and room:
            asked = self._queue[0]
            if asked.answer.done():  # nobody waits for it any more
                self._queue.popleft()
                continue
            if batch and asked.tiles.shape[1:] != batch[0][1].shape[1:]:
                break
            part = asked.tiles[asked.taken : asked.taken + room]
            batch.append((asked, part))
            asked.taken += len(part)
            room -= len(part)
            if not asked.waiting:
                self._queue.popleft()
        return batch

    async def _pass(self, batch: list[tuple[_Asked, Pixels]]) -> None:
        parts = [part for _, part in batch]
        try:
            vectors = await self._encode(parts[0] if len(parts) == 1 else np.concatenate(parts))
        except Exception as error:
            for asked, _ in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        start = 0
        for asked, part in batch:
            _deliver(asked, vectors[start : start + len(part)])
            start += len(part)


def _deliver(asked: _Asked, vectors: Vectors) -> None:
    if asked.vectors is None:
        asked.vectors = np.empty((len(asked.tiles), vectors.shape[1]), np.float32)
    asked.vectors[asked.done : asked.done + len(vectors)] = vectors
    asked.done += len(vectors)
    if asked.done == len(asked.tiles) and not asked.answer.done():
        asked.answer.set_result(asked.vectors)
