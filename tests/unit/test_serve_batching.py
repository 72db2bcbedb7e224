"""Dynamic batches are full under load, prompt when idle, and give every request its own."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.batching import TileBatcher


class Recorder:
    """An encoder that says each tile's first value, slowly, and notes its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[int] = []
        self._seconds = seconds

    async def __call__(self, tiles: np.ndarray) -> np.ndarray:
        self.batches.append(len(tiles))
        await asyncio.sleep(self._seconds)
        return tiles[:, 0, 0, :1].astype(np.float32)


def tiles_of(values: list[int], side: int = 2) -> np.ndarray:
    return np.broadcast_to(
        np.array(values, np.uint8)[:, None, None, None], (len(values), side, side, 3)
    )


@settings(max_examples=50)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=8), st.integers(1, 6))
def test_every_request_gets_its_own_vectors_in_order(sizes: list[int], batch: int) -> None:
    async def run() -> None:
        encoder = Recorder()
        batches = TileBatcher(encoder, batch, 0.001)
        asked = [[(7 * r + i) % 256 for i in range(n)] for r, n in enumerate(sizes)]
        found = await asyncio.gather(*(batches.embed(tiles_of(values)) for values in asked))
        assert [vectors[:, 0].tolist() for vectors in found] == asked
        assert sum(encoder.batches) == sum(sizes)
        # All came before the first pass: every batch but the last is full.
        assert set(encoder.batches[:-1]) <= {batch}

    asyncio.run(run())


def test_under_load_batches_are_full() -> None:
    async def run() -> list[int]:
        encoder = Recorder(0.02)
        batches = TileBatcher(encoder, 8, 0.002)

        async def user(index: int) -> None:
            await asyncio.sleep(0.003 * index)  # they do not come at once
            for _ in range(6):
                await batches.embed(tiles_of([index]))

        await asyncio.gather(*(user(i) for i in range(24)))
        return encoder.batches

    sizes = asyncio.run(run())
    assert np.mean(sizes[1:-4]) > 7


@pytest.mark.parametrize(("wait_seconds", "sizes"), [(0, [1, 1]), (5, [2])])
def test_an_idle_encoder_begins_at_once_unless_it_is_told_to_wait(
    wait_seconds: float, sizes: list[int]
) -> None:
    async def run() -> list[int]:
        encoder = Recorder()
        batches = TileBatcher(encoder, 2, wait_seconds)
        first = asyncio.create_task(batches.embed(tiles_of([1])))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, batches.embed(tiles_of([2])))
        return encoder.batches

    assert asyncio.run(run()) == sizes


def test_a_full_batch_does_not_wait() -> None:
    async def run() -> None:
        batches = TileBatcher(Recorder(), 2, 3600)
        await asyncio.gather(batches.embed(tiles_of([1])), batches.embed(tiles_of([2])))

    asyncio.run(run())


def test_tiles_of_different_sizes_share_no_batch() -> None:
    async def run() -> list[int]:
        encoder = Recorder()
        batches = TileBatcher(encoder, 8, 0.001)
        sides = (2, 2, 4, 2)
        await asyncio.gather(*(batches.embed(tiles_of([s], s)) for s in sides))
        return encoder.batches

    assert asyncio.run(run()) == [2, 1, 1]


def test_a_failing_batch_fails_its_requests_and_the_next_are_served() -> None:
    async def run() -> None:
        async def encode(tiles: np.ndarray) -> np.ndarray:
            if tiles[0, 0, 0, 0] == 13:
                raise ValueError("out of memory")
            return tiles[:, 0, 0, :1].astype(np.float32)

        batches = TileBatcher(encode, 2, 0.001)
        with pytest.raises(ValueError, match="memory"):
            await batches.embed(tiles_of([13, 1, 2]))
        assert (await batches.embed(tiles_of([5]))).tolist() == [[5]]

    asyncio.run(run())


def test_a_request_given_up_is_not_computed() -> None:
    async def run() -> list[int]:
        encoder = Recorder(0.05)
        batches = TileBatcher(encoder, 4, 0.001)
        first = asyncio.create_task(batches.embed(tiles_of([1])))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(batches.embed(tiles_of([2, 2, 2])))
        await asyncio.sleep(0.01)
        gone.cancel()
        await batches.embed(tiles_of([3]))
        await first
        return encoder.batches

    assert asyncio.run(run()) == [1, 1]
