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


def tile_vectors(
    uris: Sequence[str], size: TileSize, choice: EncoderChoice, described: Described, pool: Pool
) -> Iterator[tuple[Sequence[str], Vectors]]:
    """Runs of tiles with their vectors (N, D), in order.

    RequestError for a tile that cannot be read or is of another size.
    """
    import ray
    from ray.util import ActorPool

    runs = [uris[i : i + TILES_A_TASK] for i in range(0, len(uris), TILES_A_TASK)]
    actor = ray.remote(_Encoder).options(
        num_cpus=pool.cpus, num_gpus=pool.gpus, max_restarts=-1, max_task_retries=-1
    )
    actors = [actor.remote(choice, described, pool) for _ in range(min(pool.size, len(runs)))]
    try:
        yield from zip(
            runs,
            ActorPool(actors).map(lambda a, run: a.encode.remote(run, size), runs),
            strict=True,
        )
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
        self._batch = pool.batch_size

    def encode(self, uris: Sequence[str], size: TileSize) -> Vectors:
        """(N, D)."""
        with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as readers:
            tiles = list(readers.map(read_tile, uris))
        for uri, tile in zip(uris, tiles, strict=True):
            if (found := TileSize.of(tile)) != size:
                raise RequestError(
                    f"--tiles: {uri} is of {found} pixels, not {size}: make tiles one size"
                )
        batches = range(0, len(tiles), self._batch)
        return np.concatenate(
            [self._encoder(np.stack(tiles[i : i + self._batch])) for i in batches]
        )
