"""The served application in this process: the real services, without Ray between them."""

import socket
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.testclient import TestClient

from pathray.encoders import load_encoder
from pathray.mil.aggregator import AggregatorSettings
from pathray.mil.aggregators import build_aggregator
from pathray.mil.formats.bag import Made
from pathray.mil.head import Head
from pathray.slidemodel import cox_task, load_slide_model, save_slide_model
from pathray.slideprediction import SlidePrediction
from pathray.slides.pyramid import write_pyramid
from pathray.slides.reader import Pixels
from pathray.slides.spool import Spool
from pathray.survival.breslow import BreslowBaseline
from pathray.synthetic_slide import MPP, SlideRecipe, draw_slide
from serve.api.app import create_app
from serve.application import Application
from serve.encoding import EncoderCard, TileEncoder
from serve.predicting import ModelCard, card_of
from serve.results import Results
from serve.schemas import UsedEncoder
from serve.settings import EncoderSettings, Settings
from serve.slidejobs import Report, Services
from serve.viewing import SlideViews
from serve.worker import JobWorker

ENCODER = EncoderSettings(name="mean_rgb", batch_size=16)


class Encoder:
    """The encoder, awaited where a deployment would be called."""

    def __init__(self) -> None:
        self._encoder = TileEncoder(ENCODER, lambda _: None)

    async def describe(self) -> EncoderCard:
        return self._encoder.card

    async def embed(self, tiles: Pixels) -> NDArray[np.float16]:
        return await self._encoder.embed(tiles)


class Predictor:
    """Slide models, kept once they are loaded."""

    def __init__(self) -> None:
        self._load = cache(load_slide_model)

    async def describe(self, uri: str) -> ModelCard:
        return card_of(uri, self._load(uri))

    async def predict(self, uri: str, vectors: NDArray[np.floating]) -> SlidePrediction:
        return self._load(uri).predict(vectors)


def write_models(folder: Path, seed: int = 0) -> dict[str, str]:
    """A classifier and a Cox model of three heads each, on top of mean_rgb at 0.5 µm."""
    made = Made(6, load_encoder("mean_rgb").digest, 0.5, 224, "mean_rgb")
    baseline = BreslowBaseline(np.array([100.0, 700.0]), np.array([0.1, 0.9]), 0.0)
    written = {}
    for name, loss, outputs in (("subtype", "ce", 2), ("survival", "cox", 1)):
        chosen = AggregatorSettings(
            aggregator="abmil", dim=6, outputs=outputs, hidden=8, attention=4
        )
        head = Head(
            settings=chosen,
            made=made,
            target=name,
            loss=loss,  # type: ignore[arg-type]
            classes=("glandular", "solid") if loss == "ce" else (),
            task=cox_task(baseline) if loss == "cox" else {},
        )
        heads = [(head, build_aggregator(chosen, seed + i).eval()) for i in range(3)]
        save_slide_model(str(folder / name), heads, "days" if loss == "cox" else None)
        written[name] = str(folder / name)
    return written


def write_slide(path: Path, seed: int = 0) -> Path:
    """A small slide with some 20 tiles of tissue."""
    recipe = SlideRecipe(2000, 1600, density=3000, gland_share=0.3, tissue_share=0.5, pen=None)
    pixels, _ = draw_slide(recipe, np.random.default_rng(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_pyramid(path, pixels, MPP)
    return path


def settings_in(folder: Path, **more: Any) -> Settings:
    """Settings whose slides, embeddings, models and results lie in one folder."""
    return Settings.model_validate(
        {
            "encoder": ENCODER,
            "models": write_models(folder / "models"),
            "slides": (str(folder / "slides"),),
            "embeddings": (str(folder / "embeddings"),),
            "results": str(folder / "results"),
        }
        | more
    )


def application_of(settings: Settings, spool: Path) -> Application:
    """The application without a worker."""
    results = Results(settings.results) if settings.results else None
    views = SlideViews(results, Spool(spool, 10**9)) if results else None
    return Application(settings, Encoder(), Predictor(), results, views)


def browser(application: Application, key: str | None = None) -> TestClient:
    """A client on the loopback address."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return TestClient(
        create_app(application),
        "http://127.0.0.1:8000",
        headers=headers,
        raise_server_exceptions=False,
    )


def worker_of(
    settings: Settings,
    spool: Path,
    name: str = "one",
    ended: Callable[[str], None] = lambda _: None,
) -> JobWorker:
    """A worker of slide predictions with its own encoder, in a thread."""
    encoder = load_encoder("mean_rgb")

    def services(report: Report) -> Services:
        return Services(
            encode=lambda tiles: encoder(tiles).astype(np.float16),
            predict=lambda uri, vectors: load_slide_model(uri).predict(vectors),
            card=lambda uri: card_of(uri, load_slide_model(uri)),
            encoder=UsedEncoder(name="mean_rgb", digest=encoder.digest, precision="fp32"),
            report=report,
            batch=4,
            most_tiles=settings.limits.bag_tiles,
        )

    assert settings.results is not None
    return JobWorker(Results(settings.results), services, Spool(spool, 10**9), name, ended)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Poll; AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
