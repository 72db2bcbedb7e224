"""The application's services as calls to their deployments."""

import numpy as np
from numpy.typing import NDArray
from ray.serve.handle import DeploymentHandle

from pathray.slideprediction import SlidePrediction
from pathray.slides.reader import Pixels
from serve.calls import call
from serve.encoding import EncoderCard
from serve.predicting import ModelCard

BY_VALUE_BYTES = 1 << 20
"""Tiles up to this size go by gRPC, which saves some 5 ms (6 tiles of 224 px). Larger ones go
through Ray's object store: gRPC refuses messages of more than 4 MB."""


class RemoteEncoder:
    """The `Encoder` deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._by_value = handle.options(_by_reference=False)

    async def describe(self) -> EncoderCard:
        """What it is."""
        card: EncoderCard = await call(self._handle.describe)
        return card

    async def embed(self, tiles: Pixels) -> NDArray[np.float16]:
        """float16 (n, D) of uint8 (n, S, S, 3)."""
        handle = self._by_value if tiles.nbytes <= BY_VALUE_BYTES else self._handle
        vectors: NDArray[np.float16] = await call(handle.embed, tiles)
        return vectors


class RemotePredictor:
    """The `SlidePredictor` deployment; calls for a model prefer replicas that hold it."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def describe(self, uri: str) -> ModelCard:
        """A model's card."""
        card: ModelCard = await call(self._handle.options(multiplexed_model_id=uri).describe)
        return card

    async def predict(self, uri: str, vectors: NDArray[np.floating]) -> SlidePrediction:
        """The ensemble's answer to (N, D)."""
        method = self._handle.options(multiplexed_model_id=uri).predict
        found: SlidePrediction = await call(method, vectors)
        return found


class RemoteViews:
    """The `SlideSquares` deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def square(self, id: str, level: int, column: int, row: int) -> bytes | None:
        """JPEG; None where there is none."""
        data: bytes | None = await call(self._handle.square, id, level, column, row)
        return data
