"""The application: what a Serve config file names as `import_path: serve.app:build`."""

from ray.serve import Application

from serve.deployments import Encoder, Ingress, SlidePredictor, SlideSquares, SlideWorker
from serve.settings import Settings


def build(settings: Settings) -> Application:
    """The deployments wired up. Each is given only the settings it reads, so that a change of
    keys or limits replaces the ingress and leaves loaded weights alone."""
    encoder = Encoder.bind(settings.encoder)  # type: ignore[attr-defined]
    predictor = SlidePredictor.bind()  # type: ignore[attr-defined]
    squares = worker = None
    if settings.results:
        squares = SlideSquares.bind(settings.results, settings.cache_gb)  # type: ignore[attr-defined]
        # Keys are the ingress's alone: their change must not disturb a slide under way.
        mine = settings.model_copy(update={"keys": (), "models": {}, "slides": ()})
        worker = SlideWorker.bind(mine, encoder, predictor)  # type: ignore[attr-defined]
    return Ingress.bind(settings, encoder, predictor, squares, worker)  # type: ignore[attr-defined]
