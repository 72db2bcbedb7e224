"""MLflow runs that never hold up what they tell of.

Everything goes through a bounded queue to one thread, which alone speaks to the tracking
store: MLFLOW_TRACKING_URI, or MLflow's own default, `mlflow.db` in the working directory. A
store that does not answer is asked again in the background; what no longer fits the queue,
or is left at the end, is dropped, counted and told once.
"""

import contextlib
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pathray.errors import one_line

QUEUE_LENGTH = 10_000
CLOSE_SECONDS = 30.0
"""How long the end of a run waits for what is still queued."""
RETRY_SECONDS = 5.0
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""MLflow itself would wait for minutes; who wants to wait asks again."""
PARAMETER_LENGTH = 500
"""Longest value that every tracking store takes."""

Status = Literal["FINISHED", "FAILED", "KILLED"]
Act = Callable[["_Run"], None]


class Tracking:
    """One MLflow run. Only one process makes one for a run.

    `run_id` continues a run: steps that it holds already are not logged again. `parent` is
    the id of the run that this one belongs to (a fold to its experiment). `started` is called,
    in the thread, with the id of the run once it is known, and `told` with what a person
    should read.
    """

    def __init__(
        self,
        experiment: str,
        name: str,
        *,
        run_id: str | None = None,
        parent: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        started: Callable[[str], None] = lambda _: None,
        told: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        self.uri = ""
        self.run_id: str | None = None
        self._asked = self._logged = 0
        self._start = lambda: _Run(experiment, name, run_id, parent, parameters or {})
        self._started, self._told = started, told
        self._queue: queue.Queue[Act | None] = queue.Queue(QUEUE_LENGTH)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log figures of a step."""
        now, held = round(time.time() * 1000), dict(values)
        self._put(lambda run: run.metrics(step, held, now))

    def artefact(self, path: str, content: bytes) -> None:
        """Log a file, at a path inside the run's artefacts."""
        self._put(lambda run: run.artefact(path, content))

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        held = dict(values)
        self._put(lambda run: run.tags(held))

    def close(self, status: Status = "FINISHED", seconds: float = CLOSE_SECONDS) -> None:
        """Log what is queued, end the run; after `seconds` the rest is dropped."""
        self._closing.set()
        for last in (lambda run: run.end(status), None):
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(last)
        self._thread.join(seconds)
        lost = self._asked - self._logged
        if lost:
            where = f" at {self.uri}" if self.uri else ""
            self._told(f"tracking: {lost} of {self._asked} records did not reach MLflow{where}")

    def _put(self, act: Act) -> None:
        def counted(run: _Run) -> None:
            act(run)
            self._logged += 1

        self._asked += 1
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(counted)

    def _work(self) -> None:
        run = self._insist(self._start)
        if run is None:
            return
        self.run_id, self.uri = run.run_id, run.uri
        self._started(run.run_id)
        while (act := self._queue.get()) is not None:
            self._insist(lambda act=act: act(run))  # type: ignore[misc]

    def _insist(self, act: Callable[[], Any]) -> Any:
        """The result of `act`, tried until it succeeds; None when it is refused as it is, or
        when the run closes before.
        """
        said = False
        while True:
            last = self._closing.is_set()
            try:
                return act()
            except Exception as error:  # each store has its own exceptions
                if not said:
                    self._told(f"tracking: MLflow does not answer ({one_line(error, 120)})")
                    said = True
                if last or _refuses(error):
                    return None
                self._closing.wait(RETRY_SECONDS)


class _Run:
    """A run in its store. Every method may raise what the store raises."""

    def __init__(
        self,
        experiment: str,
        name: str,
        run_id: str | None,
        parent: str | None,
        parameters: Mapping[str, Any],
    ) -> None:
        self._client = mlflow_client()
        self.uri = self._client.tracking_uri
        found = self._find(run_id) if run_id else None
        if found is None:
            tags = {"mlflow.runName": name} | ({"mlflow.parentRunId": parent} if parent else {})
            run = self._client.create_run(self._experiment(experiment), tags=tags, run_name=name)
            self.run_id, self._first = run.info.run_id, 0
            self._log_parameters(parameters)
        else:
            self.run_id = found.info.run_id
            self._first = int(found.data.metrics.get("step", -1)) + 1
            self._client.update_run(self.run_id, status="RUNNING")

    def metrics(self, step: int, values: Mapping[str, float], time_ms: int) -> None:
        from mlflow.entities import Metric

        if step < self._first:
            return
        told = {**values, "step": float(step)}
        self._client.log_batch(
            self.run_id, metrics=[Metric(k, float(v), time_ms, step) for k, v in told.items()]
        )

    def artefact(self, path: str, content: bytes) -> None:
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / name
            file.write_bytes(content)
            self._client.log_artifact(self.run_id, str(file), folder or None)

    def tags(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self._client.set_tag(self.run_id, key, value)

    def end(self, status: Status) -> None:
        self._client.set_terminated(self.run_id, status)

    def _find(self, run_id: str) -> Any:
        """The run, or None where the store never heard of it or has it in its bin."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)

    def _log_parameters(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        told = [Param(key, str(value)[:PARAMETER_LENGTH]) for key, value in values.items()]
        self._client.log_batch(self.run_id, params=told)


def _refuses(error: Exception) -> bool:
    """Whether the store understood and will never take it."""
    code = getattr(error, "error_code", "")
    return code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED")


def mlflow_client() -> Any:
    """A client of tracking store and registry, without MLflow's own chatter and long waits."""
    import logging

    wait_briefly()
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient()


def wait_briefly() -> None:
    """Let MLflow in this process give up on a server within half a minute."""
    for name, value in {**PATIENCE, "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        os.environ.setdefault(name, value)
