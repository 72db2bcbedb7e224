"""Slide models of a real MLflow server: an alias that moves, one that is not there, no server."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests
from process import Running, serving
from servers import free_port, program
from serving import wait_until, write_models, write_slide
from small_service import config_of

from pathray.client import ServiceError
from pathray.encoders import load_encoder
from pathray.modelregistration import register
from pathray.slidemodel import load_slide_model
from serve.application import PIN_SECONDS
from serve.keys import new_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KEY = new_key()
NAME, ALIAS = "slide-subtype", "production"
VECTORS = np.random.default_rng(0).random((40, 6)).astype(np.float16)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A tracking server and registry; models go through it, not past it."""
    port = free_port()
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [program("mlflow"), "server", "--host=127.0.0.1", f"--port={port}", "--workers=1",
             f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
             f"--artifacts-destination={folder}/artifacts"],
            stdout=log, stderr=log,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers(f"{url}/health"), 120)
            yield url, process
        finally:
            process.terminate()
            process.wait(30)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def register_model(folder: Path) -> str:
    """Register a slide model under the alias, as `finetune --register` does."""
    from mlflow import MlflowClient

    run = MlflowClient().create_run("0")
    return register(str(folder), run.info.run_id, NAME, ALIAS)


def answer_of(service: Running) -> tuple[str, list[float]]:
    """Which version answers, and each head's probability of the first class."""
    client = service.client(attempts=1)
    told = client.predict("subtype", VECTORS, load_encoder("mean_rgb").digest)
    return told["model"]["uri"], [head[0] for head in told["classification"]["heads"]]


def expected_of(folder: Path) -> list[float]:
    found = load_slide_model(str(folder)).predict(VECTORS)
    assert found.probabilities is not None
    return found.probabilities[:, 0].tolist()


def test_an_alias_is_followed_and_a_registry_that_is_away_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        Path(write_models(tmp_path / f"trained-{seed}", seed)["subtype"]) for seed in (0, 10)
    )
    slide = write_slide(tmp_path / "slides" / "one.tif")
    with mlflow_server(tmp_path) as (registry, server):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
        assert register_model(first) == f"models:/{NAME}/1"
        models = {"subtype": f"models:/{NAME}@{ALIAS}", "missing": f"models:/{NAME}@nobody"}
        port = free_port()
        config = config_of(tmp_path, KEY, port, models=models)
        with serving(config, tmp_path, KEY, MLFLOW_TRACKING_URI=registry) as service:
            client = service.client(attempts=1)
            assert answer_of(service) == (f"models:/{NAME}/1", pytest.approx(expected_of(first)))
            before = client.wait(client.predict_slide(str(slide), "subtype")["id"], 120)
            with pytest.raises(ServiceError, match="503: the model missing cannot be loaded now"):
                client.predict_slide(str(slide), "missing")

            assert register_model(second) == f"models:/{NAME}/2"
            moved = time.monotonic()
            wait_until(lambda: answer_of(service)[0] == f"models:/{NAME}/2", 60)
            assert time.monotonic() - moved < PIN_SECONDS + 5
            assert answer_of(service)[1] == pytest.approx(expected_of(second))
            after = client.wait(client.predict_slide(str(slide), "subtype")["id"], 120)
            assert after["id"] != before["id"]
            assert client.prediction(before["id"]) == before

            server.terminate()
            server.wait(30)
            time.sleep(PIN_SECONDS)
            for _ in range(3):
                asked = time.monotonic()
                assert answer_of(service)[0] == f"models:/{NAME}/2"
                assert time.monotonic() - asked < 5
