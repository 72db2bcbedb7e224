"""MLflow is told everything while it is there, and never holds up training when it is not."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathray import tracking
from pathray.tracking import Tracking


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking database that is set up once: that takes MLflow seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def used(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    return store


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that is not there."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        uri = f"http://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield uri


def client(uri: str):
    from mlflow import MlflowClient

    return MlflowClient(uri)


def silent(text: str) -> None:
    raise AssertionError(text)


def run_once(steps: range, run_id: str | None = None, **more) -> str:
    run = Tracking("pretraining", "a run", run_id=run_id, told=silent, **more)
    for step in steps:
        run.metrics(step, {"loss": 1.0 / (step + 1)})
    run.close(seconds=120)
    assert run.run_id is not None
    return run.run_id


def test_a_run_holds_parameters_metrics_and_pictures(used: str):
    ids: list[str] = []
    run = Tracking("pretraining", "first", parameters={"lr": 0.5}, started=ids.append, told=silent)
    run.metrics(3, {"loss": 2.0, "probe/knn": 0.5})
    run.artefact("masks/step-3.png", b"a picture")
    run.tags({"stage": "one"})
    run.close(seconds=120)
    assert ids == [run.run_id]
    held = client(used).get_run(run.run_id)
    assert held.data.params == {"lr": "0.5"}
    assert held.data.metrics == {"loss": 2.0, "probe/knn": 0.5, "step": 3.0}
    assert held.data.tags["stage"] == "one"
    assert held.info.status == "FINISHED"
    assert [f.path for f in client(used).list_artifacts(run.run_id, "masks")] == [
        "masks/step-3.png"
    ]


def test_a_resumed_run_continues_without_logging_a_step_twice(used: str):
    first = run_once(range(5))
    assert run_once(range(2, 8), run_id=first) == first
    history = client(used).get_metric_history(first, "loss")
    assert sorted(metric.step for metric in history) == list(range(8))


def test_a_run_that_was_deleted_is_begun_anew(used: str):
    first = run_once(range(1))
    client(used).delete_run(first)
    assert run_once(range(1), run_id=first) != first
    assert run_once(range(1), run_id="0" * 32) != first


def test_a_fold_is_a_child_of_its_experiment(used: str):
    parent = run_once(range(1))
    child = run_once(range(1), parent=parent)
    assert client(used).get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_a_server_that_is_not_there_costs_no_time_and_is_told_once(
    nobody: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracking, "QUEUE_LENGTH", 50)
    told: list[str] = []
    begun = time.perf_counter()
    run = Tracking("pretraining", "lonely", told=told.append)
    for step in range(1000):
        run.metrics(step, {"loss": 1.0})
    assert time.perf_counter() - begun < 1
    while not told:
        time.sleep(0.05)
    run.close(seconds=5)
    assert len(told) == 2
    assert told[0].startswith("tracking: MLflow does not answer")
    assert told[1] == "tracking: 1000 of 1000 records did not reach MLflow"


def test_a_server_that_goes_away_and_comes_back_misses_nothing(
    used: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.05)
    log, away = tracking._Run.metrics, [True] * 3

    def sometimes(self, *arguments) -> None:
        if away:
            away.pop()
            raise ConnectionError("away")
        log(self, *arguments)

    monkeypatch.setattr(tracking._Run, "metrics", sometimes)
    told: list[str] = []
    run = Tracking("pretraining", "patient", told=told.append)
    run.metrics(0, {"loss": 1.0})
    run.metrics(1, {"loss": 0.5})
    while away:
        time.sleep(0.02)
    run.close(seconds=120)
    assert len(told) == 1
    assert len(client(used).get_metric_history(run.run_id, "loss")) == 2


def test_a_record_that_the_store_refuses_holds_up_no_other(used: str):
    told: list[str] = []
    run = Tracking("pretraining", "odd", told=told.append)
    run.metrics(0, {"a name \n with a line": 1.0})
    run.metrics(1, {"loss": 1.0})
    run.close(seconds=120)
    assert client(used).get_run(run.run_id).data.metrics["loss"] == 1.0
    assert told[-1].startswith("tracking: 1 of 2 records did not reach MLflow")
