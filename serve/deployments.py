"""What runs where: the Serve deployments, each a thin coat over a plain class.

How many replicas, with how many CPUs or what share of a GPU, is said in the config file under
`deployments`, by the names below; the numbers here fit together on two CPUs.
"""

import asyncio
import logging
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.handle import DeploymentHandle

from pathray.errors import PathrayError, one_line
from pathray.slideprediction import SlidePrediction
from pathray.slides.reader import Pixels
from pathray.slides.spool import Spool, default_folder
from serve.api.app import create_app
from serve.application import Application
from serve.calls import call_patiently
from serve.doors import metrics_address, refuse_open_doors
from serve.encoding import EncoderCard, TileEncoder
from serve.metrics import counter
from serve.noredirects import refuse_redirects
from serve.predicting import ModelCard, ModelUnavailableError, card_of
from serve.remote import RemoteEncoder, RemotePredictor, RemoteViews
from serve.results import Results
from serve.schemas import UsedEncoder
from serve.settings import Access, EncoderSettings, Settings
from serve.slidejobs import Report, Services
from serve.viewing import SlideViews
from serve.worker import JobWorker

log = logging.getLogger("ray.serve.pathray")

MODELS_IN_MEMORY = 8
"""Slide models that one replica of `SlidePredictor` holds."""
TILES_A_CALL = 32
"""About so many tiles of a slide go to the encoder at once; requests may come in between."""
BUSY = BackpressureConfig(status_code=503, retry_after_s=2)
"""What a full queue answers."""


@serve.deployment(
    max_ongoing_requests=64,
    max_queued_requests=128,
    autoscaling_config=AutoscalingConfig(
        min_replicas=1, max_replicas=1, target_ongoing_requests=16
    ),
    ray_actor_options={"num_cpus": 1},
)
class Encoder:
    """Tiles to embeddings in dynamic batches."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._tiles, self._room = counter("pathray_tiles_embedded"), counter("pathray_batch_room")
        self._size = settings.batch_size
        self._encoder = TileEncoder(settings, self._count)

    async def describe(self) -> EncoderCard:
        """What it is."""
        return self._encoder.card

    async def embed(self, tiles: Pixels) -> NDArray[np.float16]:
        """float16 (n, D) of uint8 (n, S, S, 3)."""
        return await self._encoder.embed(tiles)

    def _count(self, tiles: int) -> None:
        self._tiles.inc(tiles)
        self._room.inc(self._size)


@serve.deployment(
    max_ongoing_requests=8, max_queued_requests=64, ray_actor_options={"num_cpus": 0.25}
)
class SlidePredictor:
    """Slide models, loaded when they are asked for, a bounded number at a time."""

    @serve.multiplexed(max_num_models_per_replica=MODELS_IN_MEMORY)
    async def _model(self, uri: str) -> Any:
        from pathray.slidemodel import load_slide_model

        try:
            return await asyncio.to_thread(load_slide_model, uri)
        except PathrayError as error:
            log.error("model %s: %s", uri, one_line(error))
            raise ModelUnavailableError("the model cannot be loaded now: ask again") from None

    async def describe(self) -> ModelCard:
        """The card of the model that the call names."""
        uri = serve.get_multiplexed_model_id()
        return card_of(uri, await self._model(uri))

    async def predict(self, vectors: NDArray[np.floating]) -> SlidePrediction:
        """The answer of the model that the call names to (N, D)."""
        model = await self._model(serve.get_multiplexed_model_id())
        found: SlidePrediction = await asyncio.to_thread(model.predict, vectors)
        return found


@serve.deployment(
    max_ongoing_requests=32, max_queued_requests=256, ray_actor_options={"num_cpus": 0.1}
)
class SlideSquares:
    """Squares of predicted slides for the viewer."""

    def __init__(self, results: str, cache_gb: float) -> None:
        refuse_redirects()
        self._views = SlideViews(Results(results), _spool(cache_gb))

    async def square(self, id: str, level: int, column: int, row: int) -> bytes | None:
        """JPEG; None where there is none."""
        return await self._views.square(id, level, column, row)


@serve.deployment(
    max_ongoing_requests=4,
    ray_actor_options={"num_cpus": 0.25},
    graceful_shutdown_timeout_s=30,
)
class SlideWorker:
    """Takes slide predictions from the store, one at a time."""

    def __init__(
        self, settings: Settings, encoder: DeploymentHandle, predictor: DeploymentHandle
    ) -> None:
        refuse_redirects()
        assert settings.results is not None
        self._settings, self._encoder, self._predictor = settings, encoder, predictor
        ended = counter("pathray_slide_predictions")
        self._worker = JobWorker(
            Results(settings.results),
            self._services,
            _spool(settings.cache_gb),
            uuid.uuid4().hex,
            ended=lambda outcome: ended.inc(tags={"outcome": outcome}),
        )

    async def wake(self) -> None:
        """There is something to do: look now."""
        self._worker.wake()

    def check_health(self) -> None:
        """Serve replaces a replica whose thread has died."""
        if not self._worker.is_alive():
            raise RuntimeError("the worker's thread has ended")

    def __del__(self) -> None:
        self._worker.stop()

    def _services(self, report: Report) -> Services:
        card: EncoderCard = call_patiently(self._encoder.describe)
        size = self._settings.encoder.batch_size

        def model(uri: str) -> DeploymentHandle:
            return self._predictor.options(multiplexed_model_id=uri)

        return Services(
            encode=lambda tiles: call_patiently(self._encoder.embed, tiles),
            predict=lambda uri, vectors: call_patiently(model(uri).predict, vectors),
            card=lambda uri: call_patiently(model(uri).describe),
            encoder=UsedEncoder(name=card.name, digest=card.digest, precision=card.precision),
            report=report,
            batch=size * max(1, TILES_A_CALL // size),  # whole passes
            most_tiles=self._settings.limits.bag_tiles,
        )


@serve.deployment(
    max_ongoing_requests=128,
    max_queued_requests=64,
    backpressure_config=BUSY,
    user_config={"keys": []},  # so that `reconfigure` is always called
    ray_actor_options={"num_cpus": 0.25},
    graceful_shutdown_timeout_s=30,
)
@serve.ingress()
class Ingress:
    """The HTTP API; every call it makes goes to another replica when one dies."""

    def __init__(
        self,
        settings: Settings,
        encoder: DeploymentHandle,
        predictor: DeploymentHandle,
        squares: DeploymentHandle | None,
        worker: DeploymentHandle | None,
    ) -> None:
        refuse_redirects()
        self._application = Application(
            settings,
            encoder=RemoteEncoder(encoder),
            predictor=RemotePredictor(predictor),
            results=Results(settings.results) if settings.results else None,
            views=RemoteViews(squares) if squares else None,
            wake=worker.wake.remote if worker else None,
            metrics_address=metrics_address(),
        )

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Let in who the config file names now; RequestError where anybody could come in."""
        access = Access.model_validate(user_config)
        refuse_open_doors(access)
        self._application.access = access

    def __serve_build_asgi_app__(self) -> Any:
        return create_app(self._application)


def _spool(cache_gb: float) -> Spool:
    return Spool(default_folder(), int(cache_gb * 1e9))
