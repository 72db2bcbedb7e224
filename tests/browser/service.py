"""The application behind a real HTTP server, with slides whose pixels are known."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from serving import application_of, settings_in, wait_until, worker_of

from pathray.client import Client, ServiceError
from pathray.slides.pyramid import write_pyramid
from pathray.slides.reader import Pixels
from pathray.synthetic_slide import MPP, SlideRecipe, draw_slide
from serve.api.app import create_app
from serve.keys import hash_key
from serve.results import Results
from serve.settings import Access, Key

RECIPE = SlideRecipe(2600, 2000, density=3000, gland_share=0.3, tissue_share=0.5)
HOSTILE = "<img src=x onerror=alert(1)>"
BROKEN = "broken"
Json = dict[str, Any]


@dataclass
class Service:
    """A running service: where it is, what lies in it, and the records of its predictions."""

    url: str
    client: Client
    slides: Path
    results: Results
    records: dict[tuple[str, str], Json] = field(default_factory=dict)

    def predict(self, slide_id: str, model: str) -> Json:
        """Predict a slide, waiting for the end, whichever it is."""
        job = self.client.predict_slide(str(self.slides / f"{slide_id}.tif"), model)
        try:
            record = self.client.wait(job["id"], 120, every=0.2)
        except ServiceError:
            record = self.client.prediction(job["id"])
        self.records[slide_id, model] = record
        return record

    def predict_all(self) -> None:
        """The slide by both models, one of a hostile name, and one that is no slide."""
        pixels_to(self.slides / "case.tif")
        pixels_to(self.slides / f"{HOSTILE}.tif")
        (self.slides / f"{BROKEN}.tif").write_bytes(b"no slide at all")
        for slide_id, model in (
            ("case", "subtype"),
            ("case", "survival"),
            (HOSTILE, "subtype"),
            (BROKEN, "subtype"),
        ):
            self.predict(slide_id, model)

    def page_of(self, slide_id: str, model: str) -> str:
        """The address of a prediction's page."""
        return f"{self.url}/#/{self.records[slide_id, model]['id']}"


def slide_pixels() -> Pixels:
    """The pixels of all the slides, uint8 (2000, 2600, 3)."""
    pixels, _ = draw_slide(RECIPE, np.random.default_rng(4))
    return pixels


def pixels_to(path: Path) -> None:
    """Write the slide."""
    write_pyramid(path, slide_pixels(), MPP)


@contextmanager
def running(folder: Path, key: str | None = None, **more: Any) -> Iterator[Service]:
    """The application and a worker of slides, on a free port of this machine.

    `more`: settings other than a small service's own.
    """
    slides = folder / "slides"
    slides.mkdir(exist_ok=True)
    settings = settings_in(folder, **more)
    application = application_of(settings, folder / "spool")
    if key:
        application.access = Access(keys=(Key(name="tests", sha256=hash_key(key)),))
    app = create_app(application)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        worker = worker_of(settings, folder / "work")
        thread.start()
        try:
            wait_until(lambda: server.started)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            yield Service(url, Client(url, key), slides, Results(str(folder / "results")))
        finally:
            worker.stop()
            server.should_exit = True
            thread.join(20)
