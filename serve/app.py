"""The application: what a Serve config file names as `import_path: serve.app:build`."""

from ray.serve import Application

from serve.allowed import Allowed
from serve.deployments import Encoder, Ingress, SlidePredictor, SlideSquares, SlideWorker
from serve.settings import Settings


def build(settings: Settings) -> Application:
    """The deployments wired up. RequestError for a prefix that could not be checked against."""
    for kind, prefixes in (("slides", settings.slides), ("embeddings", settings.embeddings)):
        Allowed(kind, prefixes)
    encoder = Encoder.bind(settings.encoder)  # type: ignore[attr-defined]
    predictor = SlidePredictor.bind()  # type: ignore[attr-defined]
    squares = worker = None
    if settings.results:
        squares = SlideSquares.bind(settings.results, settings.cache_gb)  # type: ignore[attr-defined]
        worker = SlideWorker.bind(settings, encoder, predictor)  # type: ignore[attr-defined]
    return Ingress.bind(settings, encoder, predictor, squares, worker)  # type: ignore[attr-defined]
