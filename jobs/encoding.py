"""The encoder on the cluster: what it is, how many, and the actor that runs it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.cluster import Capacity
from jobs.embed import Flags
from jobs.items import EmbeddedPiece, ReadPiece, pack, pixels_of, unpack
from jobs.ledger import Ledger
from jobs.metrics import encoder_was_busy
from jobs.stages import failure_of
from pathray import storage
from pathray.embeddings import to_float16
from pathray.encoders import Encoder, load_encoder, resolve
from pathray.encoders.thread import EncoderThread
from pathray.errors import PathrayError, RequestError
from pathray.slides.reader import Pixels

Vectors = NDArray[np.float32]
Encode = Callable[[Pixels], Vectors]
GPU_BATCH = 256
CPU_BATCH = 8
"""Larger ones are slower: glibc asks the system for arrays of more than 32 MB anew at every
layer, and all their pages are made again. ViT-B, 2 cores: 30 tiles/s by 8, 22 by 32, 14 by 64."""
MAX_THREADS = 8
"""Threads of one CPU encoder: beyond these a second encoder does more than more threads."""


@dataclass(frozen=True)
class EncoderChoice:
    """Which encoder, as the flags say it; loads the same one everywhere."""

    name: str
    weights: str | None
    random_init: bool
    seed: int
    precision: str
    allow_pickle: bool

    def load(self) -> Encoder:
        return load_encoder(
            self.name,
            weights=self.weights,
            random_init=self.random_init,
            seed=self.seed,
            precision=self.precision,
            allow_pickle=self.allow_pickle,
        )


@dataclass(frozen=True)
class Described:
    """What the driver needs to know of an encoder without holding it."""

    name: str
    digest: str
    precision: str
    dim: int
    tile_size: int
    mpp: float | None
    light: bool

    def identity(self) -> dict[str, Any]:
        return {"encoder_digest": self.digest, "precision": self.precision}


@dataclass(frozen=True)
class Pool:
    """How many encoders with what each; `light` encoders run where the tiles are read."""

    size: int
    cpus: float
    gpus: float
    threads: int
    batch_size: int


def choose_encoder(flags: Flags) -> EncoderChoice:
    """The flags' encoder; RequestError at once for a name that cannot be right."""
    name = flags.encoder
    # A worker has another working directory: a path must not depend on it.
    file = "/" in name or ".py:" in name
    if not name.startswith("timm/"):  # timm's own names need its import: left to a worker
        resolve(name)
    return EncoderChoice(
        storage.absolute(name) if file and not name.startswith("timm/") else name,
        storage.absolute(flags.weights) if flags.weights else None,
        flags.random_init,
        flags.seed,
        flags.precision,
        flags.allow_pickle,
    )


def choose_pool(flags: Flags, capacity: Capacity) -> Pool:
    """Encoders by GPUs where there are any, else half of every node's CPUs for encoding.

    A CPU encoder is counted with half of its threads, so that reading finds room beside it;
    the operating system shares the cores by need. Nodes that are not there yet do not count.
    """
    gpus = flags.gpus_per_encoder
    if gpus is None:
        gpus = 1.0 if capacity.gpus else 0.0
    if gpus:
        size = flags.num_encoders or max(1, int(capacity.gpus / gpus))
        return Pool(size, 0.0, gpus, 0, flags.batch_size or GPU_BATCH)
    threads = max(1, min(MAX_THREADS, int(capacity.smallest_node_cpus)))
    cpus = threads / 2
    size = flags.num_encoders or max(1, int(capacity.cpus / threads))
    return Pool(size, cpus, 0.0, threads, flags.batch_size or CPU_BATCH)


def counted(flags: Flags, capacity: Capacity, pool: Pool) -> str | None:
    """What to say where a pool was counted on a cluster that was still to grow."""
    if not capacity.grows or flags.num_encoders is not None:
        return None
    each = f"{pool.gpus:g} GPU" if pool.gpus else f"{pool.threads} CPU threads"
    return (
        f"{pool.size} encoders with {each} each, by the nodes that are there now; for those that "
        "the cluster could start say --num-encoders and --gpus-per-encoder"
    )


def describe(choice: EncoderChoice, pool: Pool) -> Described:
    """Load the encoder once, on a node that will run it, and say what it is."""
    import ray

    if not choice.name.startswith("timm/") and resolve(choice.name).light:
        return _describe(choice)
    task = ray.remote(_describe).options(num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=2)
    try:
        described: Described = ray.get(task.remote(choice))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PathrayError):
            raise RequestError(str(error.cause)) from error
        raise
    return described


def _describe(choice: EncoderChoice) -> Described:
    encoder = choice.load()
    spec = encoder.spec
    return Described(
        spec.name,
        encoder.digest,
        encoder.precision,
        encoder.dim,
        spec.tile_size,
        spec.mpp,
        spec.light,
    )


def encoder_of(choice: EncoderChoice, described: Described, pool: Pool) -> Encode:
    """The encoder, loaded here; RequestError where it is not the one that was described."""
    load = replace(choice, precision=described.precision).load
    thread = None if described.light else EncoderThread(load, pool.threads)
    encoder = thread.encoder if thread else load()
    if encoder.digest != described.digest:
        raise RequestError(f"encoder {choice.name} is not the same on every node")
    return thread or encoder


class Embedder:
    """Pieces of pixels to pieces of vectors; an actor of the pool, or inside a reading task."""

    def __init__(self, choice: EncoderChoice, described: Described, pool: Pool, ledger: Ledger):
        self._encoder = encoder_of(choice, described, pool)
        self._batch_size, self._dim, self._ledger = pool.batch_size, described.dim, ledger

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """The pool's stage: rows of `ReadPiece` with pixels become rows of `EmbeddedPiece`."""
        for row, (item, pixels) in enumerate(unpack(block)):
            if isinstance(item, ReadPiece) and pixels is not None:
                yield self._guarded(item, pixels)
            else:
                yield block.slice(row, 1)

    def _guarded(self, read: ReadPiece, pixels: pa.Buffer) -> pa.Table:
        step = f"encoding of piece {read.index}"
        try:
            self._ledger.begin(read.slide_id, step)
            embedded = self.embed(read, pixels_of(pixels, read.tile_size))
            encoder_was_busy(embedded.seconds)
            self._ledger.end(read.slide_id, step)
        except Exception as error:
            return pack(failure_of(self._ledger, read.slide_id, step, error))
        return pack(embedded)

    def embed_stream(
        self, tiles: Iterator[Pixels | None], n: int, side: int
    ) -> tuple[Vectors, list[int], float]:
        """Vectors of the decodable of `n` tiles, which they are, and the seconds they took."""
        vectors = np.empty((n, self._dim), np.float32)
        kept: list[int] = []
        seconds = 0.0
        for indices, pixels in _batches(tiles, self._batch_size, side):
            started = time.perf_counter()
            vectors[len(kept) : len(kept) + len(indices)] = self._encoder(pixels)
            kept += indices
            seconds += time.perf_counter() - started
        return vectors[: len(kept)], kept, seconds

    def embed(self, read: ReadPiece, tiles: Pixels) -> EmbeddedPiece:
        """Vectors of a piece; its batches begin anew, so they do not depend on other pieces."""
        started = time.perf_counter()
        vectors = np.empty((len(tiles), self._dim), np.float32)
        for start in range(0, len(tiles), self._batch_size):
            batch = slice(start, start + self._batch_size)
            vectors[batch] = self._encoder(tiles[batch])
        return EmbeddedPiece(read, to_float16(vectors), time.perf_counter() - started)


def _batches(
    tiles: Iterator[Pixels | None], size: int, side: int
) -> Iterator[tuple[list[int], Pixels]]:
    """The decodable tiles by `size`, with their positions; the pixels' memory is reused."""
    batch = np.empty((size, side, side, 3), np.uint8)
    indices: list[int] = []
    for index, tile in enumerate(tiles):
        if tile is not None:
            batch[len(indices)] = tile
            indices.append(index)
            if len(indices) == size:
                yield indices, batch
                indices = []
    if indices:
        yield indices, batch[: len(indices)]
