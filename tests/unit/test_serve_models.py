"""Which version of a registered model answers while its alias moves and its registry is away."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import application_of, browser, settings_in, write_models
from starlette.testclient import TestClient

import serve.application
from pathray.encoders import load_encoder

ASKED = {
    "model": "subtype",
    "encoder_digest": load_encoder("mean_rgb").digest,
    "embeddings": np.random.default_rng(0).random((10, 6)).tolist(),
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's database that holds two versions of a model, the first one in production."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        from mlflow import MlflowClient

        MlflowClient().create_registered_model("subtype")
        for seed in (0, 10):
            source = write_models(folder / f"trained-{seed}", seed)["subtype"]
            MlflowClient().create_model_version("subtype", source=source)
        move("1")
    return folder / "mlflow.db"


@pytest.fixture
def api(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """An application that asks this test's registry every time what the alias means."""
    monkeypatch.setattr(serve.application, "PIN_SECONDS", 0.0)
    shutil.copy(registry, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    models = {"subtype": "models:/subtype@production"}
    with browser(application_of(settings_in(tmp_path, models=models), tmp_path)) as client:
        yield client


def move(version: str) -> None:
    from mlflow import MlflowClient

    MlflowClient().set_registered_model_alias("subtype", "production", version)


def answer(api: TestClient) -> str:
    told = api.post("/v1/predict", json=ASKED)
    return told.json()["model"]["uri"] if told.status_code == 200 else str(told.status_code)


def go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)


def test_a_moved_alias_is_followed_there_and_back(api: TestClient) -> None:
    assert answer(api) == "models:/subtype/1"
    move("2")
    assert answer(api) == "models:/subtype/2"
    move("1")
    assert answer(api) == "models:/subtype/1"


def test_while_the_registry_is_away_the_last_version_answers(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(api) == "models:/subtype/1"
    go_away(monkeypatch)
    assert answer(api) == "models:/subtype/1"


def test_an_alias_that_is_taken_away_takes_its_model_away(api: TestClient) -> None:
    from mlflow import MlflowClient

    assert answer(api) == "models:/subtype/1"
    MlflowClient().delete_registered_model_alias("subtype", "production")
    assert answer(api) == "503"


def test_a_model_that_was_never_reached_is_told_without_an_address(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_away(monkeypatch)
    told = api.post("/v1/predict", json=ASKED)
    assert told.status_code == 503
    assert told.json()["detail"] == "the model subtype cannot be loaded now"
    assert told.headers["retry-after"]
    listed = api.get("/v1/models").json()
    assert listed == {"models": [], "unavailable": ["subtype"]}
