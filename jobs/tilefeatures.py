"""Vectors of labelled tiles, made on the cluster by a pool of encoders."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.encoding import Described, EncoderChoice, Pool, encoder_of
from pathray import storage
from pathray.errors import RequestError
from pathray.evaluation.labelled import read_tile
from pathray.slides.reader import Pixels

TILES_A_TASK = 256

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class TileSize:
    """Pixels of a tile."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"

    @classmethod
    def of(cls, tile: Pixels) -> "TileSize":
        """Of uint8 (H, W, 3)."""
        return cls(tile.shape[1], tile.shape[0])


@dataclass(frozen=True)
class EncodedTiles:
    """A run of tiles: the vectors (N, D) of those that could be read, why the others could not."""

    uris: tuple[str, ...]
    vectors: Vectors
    failed: dict[str, str]


def tile_vectors(
    uris: Sequence[str], size: TileSize, choice: EncoderChoice, described: Described, pool: Pool
) -> Iterator[EncodedTiles]:
    """All tiles, in runs, in order. A tile of another size than `size` counts as unreadable."""
    import ray
    from ray.util import ActorPool

    runs = [uris[i : i + TILES_A_TASK] for i in range(0, len(uris), TILES_A_TASK)]
    actor = ray.remote(_Encoder).options(
        num_cpus=pool.cpus, num_gpus=pool.gpus, max_restarts=-1, max_task_retries=-1
    )
    actors = [actor.remote(choice, described, pool) for _ in range(min(pool.size, len(runs)))]
    try:
        yield from ActorPool(actors).map(lambda a, run: a.encode.remote(run, size), runs)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RequestError):
            raise error.cause from error
        raise
    finally:
        for each in actors:
            ray.kill(each)


class _Encoder:
    """An actor with an encoder."""

    def __init__(self, choice: EncoderChoice, described: Described, pool: Pool) -> None:
        self._encoder = encoder_of(choice, described, pool)
        self._batch, self._dim = pool.batch_size, described.dim

    def encode(self, uris: Sequence[str], size: TileSize) -> EncodedTiles:
        with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as readers:
            found = dict(zip(uris, readers.map(lambda uri: _tile(uri, size), uris), strict=True))
        failed = {uri: tile for uri, tile in found.items() if isinstance(tile, str)}
        tiles = {uri: tile for uri, tile in found.items() if not isinstance(tile, str)}
        vectors = np.empty((len(tiles), self._dim), np.float32)
        for start in range(0, len(tiles), self._batch):
            batch = list(tiles.values())[start : start + self._batch]
            vectors[start : start + len(batch)] = self._encoder(np.stack(batch))
        return EncodedTiles(tuple(tiles), vectors, failed)


def _tile(uri: str, size: TileSize) -> Pixels | str:
    """The tile, or why there is none."""
    try:
        tile = read_tile(uri)
    except RequestError as error:
        return str(error).removeprefix("--tiles: ")
    found = TileSize.of(tile)
    return tile if found == size else f"{uri} is of {found} pixels, not {size}: make tiles one size"
