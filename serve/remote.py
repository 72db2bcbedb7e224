"""The application's services as calls to their deployments."""

import numpy as np
from numpy.typing import NDArray
from ray.serve.handle import DeploymentHandle

from pathray.slideprediction import SlidePrediction
from pathray.slides.reader import Pixels
from serve.calls import call
from serve.encoding import EncoderCard
from serve.predicting import ModelCard


class RemoteEncoder:
    """The `Encoder` deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def describe(self) -> EncoderCard:
        """What it is."""
        card: EncoderCard = await call(self._handle.describe)
        return card

    async def embed(self, tiles: Pixels) -> NDArray[np.float16]:
        """float16 (n, D) of uint8 (n, S, S, 3)."""
        vectors: NDArray[np.float16] = await call(self._handle.embed, tiles)
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
