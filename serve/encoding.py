"""The tile encoder of an application, and what it says of itself."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.embeddings import to_float16
from pathray.encoders import Encoder, load_encoder
from pathray.encoders.thread import EncoderThread
from pathray.slides.reader import Pixels
from serve.batching import TileBatcher
from serve.settings import EncoderSettings


@dataclass(frozen=True)
class EncoderCard:
    """What a client is told of the encoder. `mpp` is what it expects, None where unknown."""

    name: str
    digest: str
    precision: str
    dim: int
    tile_size: int
    mpp: float | None
    licence: str | None
    source: str | None


class TileEncoder:
    """The library's encoder behind a batcher. The weights are loaded once, here.

    `passed` is told the tiles of each batch.
    """

    def __init__(self, settings: EncoderSettings, passed: Callable[[int], None]) -> None:
        def load() -> Encoder:
            return load_encoder(
                settings.name,
                weights=settings.weights,
                random_init=settings.random_init,
                seed=settings.seed,
                precision=settings.precision or "auto",
            )

        # The event loop takes in requests during a pass.
        self._thread = EncoderThread(load, settings.threads or 0)
        self._passed = passed
        self._batches = TileBatcher(self._run, settings.batch_size, settings.wait_ms / 1000)

    @property
    def card(self) -> EncoderCard:
        """What it is."""
        encoder = self._thread.encoder
        spec = encoder.spec
        return EncoderCard(
            name=spec.name,
            digest=encoder.digest,
            precision=encoder.precision,
            dim=encoder.dim,
            tile_size=spec.tile_size,
            mpp=spec.mpp,
            licence=spec.licence,
            source=spec.source,
        )

    async def embed(self, tiles: Pixels) -> NDArray[np.float16]:
        """Embeddings (n, D) as `pathray embed` stores them, of tiles uint8 (n, S, S, 3).

        Raises SlideError where one is not finite.
        """
        return to_float16(await self._batches.embed(tiles))

    async def _run(self, tiles: Pixels) -> NDArray[np.float32]:
        writable = np.require(tiles, requirements=["C", "W"])  # torch warns of read-only memory
        vectors = await asyncio.wrap_future(self._thread.submit(writable))
        self._passed(len(tiles))
        return vectors
