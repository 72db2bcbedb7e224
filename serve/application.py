"""What the API's routes work with: the settings, and the services behind them."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pathray.errors import PathrayError, one_line
from pathray.modelregistry import RegistryAwayError, pin
from pathray.slideprediction import SlidePrediction
from pathray.slides.reader import Pixels
from serve.allowed import Allowed
from serve.encoding import EncoderCard
from serve.predicting import ModelCard
from serve.problem import Problem, busy
from serve.results import Results
from serve.settings import Access, Settings

log = logging.getLogger("ray.serve.pathray")

PIN_SECONDS = 10.0
"""How long an alias is taken to mean the version it meant."""


class Encoding(Protocol):
    """The encoder, wherever it runs."""

    async def describe(self) -> EncoderCard:
        """What it is."""
        ...

    async def embed(self, tiles: Pixels) -> NDArray[np.float16]:
        """float16 (n, D) of uint8 (n, S, S, 3)."""
        ...


class Predicting(Protocol):
    """Slide models, wherever they run. `uri` names a version."""

    async def describe(self, uri: str) -> ModelCard:
        """A model's card."""
        ...

    async def predict(self, uri: str, vectors: NDArray[np.floating]) -> SlidePrediction:
        """The ensemble's answer to (N, D)."""
        ...


class Viewing(Protocol):
    """Squares of predicted slides."""

    async def square(self, id: str, level: int, column: int, row: int) -> bytes | None:
        """JPEG, or None where there is none."""
        ...


@dataclass
class Application:
    """Settings and services; which version each model name means now."""

    settings: Settings
    encoder: Encoding
    predictor: Predicting
    results: Results | None = None
    views: Viewing | None = None
    access: Access = field(default_factory=Access)
    wake: Callable[[], object] | None = None
    metrics_address: str | None = None
    _pinned: dict[str, tuple[str, float]] = field(default_factory=dict)
    _cards: dict[str, ModelCard] = field(default_factory=dict)
    _encoder_card: EncoderCard | None = None

    def __post_init__(self) -> None:
        self.slides = Allowed("slide", self.settings.slides)
        self.embeddings = Allowed("embeddings_uri", self.settings.embeddings)

    async def encoder_card(self) -> EncoderCard:
        """The encoder's card, asked for once."""
        if self._encoder_card is None:
            self._encoder_card = await self.encoder.describe()
        return self._encoder_card

    async def model(self, name: str) -> ModelCard:
        """The card of the version that a configured name means now.

        A 404 problem for another name, a 503 problem where it cannot be loaded.
        """
        if name not in self.settings.models:
            known = ", ".join(sorted(self.settings.models)) or "none"
            raise Problem(404, f"there is no model of that name; models: {known}")
        try:
            uri = await self._pin(self.settings.models[name])
            if uri not in self._cards:
                self._cards[uri] = await self.predictor.describe(uri)
        except PathrayError as error:
            log.error("model %s: %s", name, one_line(error))
            wait = self.settings.limits.retry_after_s
            raise busy(f"the model {name} cannot be loaded now", wait) from error
        return self._cards[uri]

    async def _pin(self, uri: str) -> str:
        """The version that a URI means; where the registry is away, what it meant last."""
        last, until = self._pinned.get(uri, (None, 0.0))
        if last and time.monotonic() < until:
            return last
        if last:  # while one request asks the registry the others go on
            self._pinned[uri] = (last, time.monotonic() + PIN_SECONDS)
        try:
            pinned = await asyncio.to_thread(pin, uri)
        except RegistryAwayError as error:
            if last is None:
                raise
            log.warning("model registry: %s", one_line(error))
            return last
        except PathrayError:
            self._pinned.pop(uri, None)
            raise
        self._pinned[uri] = (pinned, time.monotonic() + PIN_SECONDS)
        return pinned

    def store(self) -> Results:
        """Where slide predictions are kept; a 404 problem where there is no such place."""
        if self.results is None:
            raise Problem(404, "this service keeps no slide predictions")
        return self.results
