"""Vectors of labelled tiles, made on the cluster by a pool of encoders."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from jobs.encoding import Described, EncoderChoice, Pool, encoder_of
from pathray import storage
from pathray.errors import RequestError
from pathray.evaluation.labelled import read_tile

TILES_A_TASK = 256


def tile_vectors(
    uris: Sequence[str], choice: EncoderChoice, described: Described, pool: Pool
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tile with its vector (D,), in order. RequestError for a tile that cannot be read."""
    import ray
    from ray.util import ActorPool

    runs = [uris[i : i + TILES_A_TASK] for i in range(0, len(uris), TILES_A_TASK)]
    actor = ray.remote(_Encoder).options(
        num_cpus=pool.cpus, num_gpus=pool.gpus, max_restarts=-1, max_task_retries=-1
    )
    actors = [actor.remote(choice, described, pool) for _ in range(min(pool.size, len(runs)))]
    try:
        for run, vectors in zip(
            runs, ActorPool(actors).map(lambda a, run: a.encode.remote(run), runs), strict=True
        ):
            yield from zip(run, vectors, strict=True)
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

    def encode(self, uris: Sequence[str]) -> NDArray[np.float32]:
        """(N, D)."""
        with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as readers:
            tiles = list(readers.map(read_tile, uris))
        if len({tile.shape for tile in tiles}) > 1:
            raise RequestError("--tiles: tiles of different sizes: make them one size")
        batches = range(0, len(tiles), self._batch)
        return np.concatenate(
            [self._encoder(np.stack(tiles[i : i + self._batch])) for i in batches]
        )
