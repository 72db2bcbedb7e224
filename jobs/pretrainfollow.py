"""What the driver of a training run hears: it tells MLflow, the terminal and the output folder."""

import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Self

from jobs.metrics import Metrics, Publisher
from jobs.pretrainrequest import Request
from jobs.progress import Progress, clock
from pathray import storage
from pathray.pretraining.events import Event, Finished, Note, Picture, Row, Started, Stopped
from pathray.pretraining.history import read_history
from pathray.pretraining.run import ENCODER
from pathray.tracking import Tracking

TRACKED, CURVE, PICTURES = "_mlflow.json", "history.jsonl", "pictures"


@dataclass(frozen=True)
class Snapshot:
    """How far a run is; `first` steps were done before it. `rate` is in tiles a second."""

    steps: int
    batch: int
    first: int | None = None
    step: int = 0
    loss: float | None = None
    data_wait: float = 0.0
    rate: float = 0.0

    def metrics(self) -> Metrics:
        """For Prometheus."""
        done = self.step - (self.first or 0)
        found: dict[str, float] = {
            "pathray_steps": done,
            "pathray_tiles": done * self.batch,
            "pathray_steps_open": self.steps - self.step,
        }
        if self.loss is not None:
            found |= {"pathray_loss": self.loss, "pathray_data_wait_share": self.data_wait}
        return found

    def line(self, job: str) -> str:
        """The run in one line."""
        if self.first is None:
            return f"{job}: starting"
        parts = [f"step {self.step:,}/{self.steps:,}"]
        if self.loss is not None:
            left = (self.steps - self.step) * self.batch / max(self.rate, 1e-9)
            parts += [
                f"loss {self.loss:.4f}",
                f"{self.rate:,.0f} tiles/s",
                f"{self.data_wait:.0%} waiting for data",
                f"{clock(left)} to go",
            ]
        return f"{job}: " + " · ".join(parts)


class Follower:
    """Follows one run; a context manager, which ends the MLflow run as training ended."""

    def __init__(self, request: Request, experiment: str) -> None:
        self._request, self._experiment = request, experiment
        self._out = request.practice.out
        self._state = Snapshot(request.training.steps, request.training.batch_size)
        self._begun = self._heard = time.monotonic()
        self._probe: dict[str, float] = {}
        self._trained = 0
        self.stopped: str | None = None
        self.finished = False
        self._progress = Progress("pretrain", self._snapshot)
        self._publisher = Publisher("pretrain", self._snapshot)

    def __enter__(self) -> Self:
        training, practice = self._request.training, self._request.practice
        self._tracking = Tracking(
            self._experiment,
            self._out.rsplit("/", 1)[-1],
            run_id=self._earlier_run(),
            parameters=asdict(training) | asdict(practice),
            started=self._keep_run,
        )
        self._progress.start()
        self._publisher.start()
        for note in self._request.notes:
            self.take(Note(note))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._progress.stop()
        self._publisher.stop()
        killed = kind is not None and issubclass(kind, KeyboardInterrupt)
        status = "FINISHED" if self.finished else "KILLED" if killed else "FAILED"
        self._tracking.close(status)  # type: ignore[arg-type]

    def take(self, event: Event) -> None:
        """Hear what a training process says."""
        match event:
            case Started():
                if self._state.first is None:
                    self._begun = time.monotonic()
                    self._state = replace(self._state, first=event.step)
                self._state = replace(self._state, step=event.step)
            case Row():
                self._take_row(event)
            case Picture():
                self._tracking.artefact(f"views/{event.name}", event.png)
                with contextlib.suppress(Exception):  # a picture is not worth a run
                    uri = storage.join(self._out, PICTURES, event.name)
                    storage.put_bytes(uri, event.png)
            case Note():
                print(f"pretrain: {event.text}", file=sys.stderr, flush=True)
            case Stopped():
                self.stopped = self.stopped or event.reason
            case Finished():
                self.finished = True

    def _take_row(self, row: Row) -> None:
        self._tracking.metrics(row.step, row.values)
        self._probe |= {k: v for k, v in row.values.items() if k.startswith("probe_")}
        if "loss" in row.values:
            self._trained += row.step - self._state.step
            self._state = replace(
                self._state,
                step=row.step,
                loss=row.values["loss"],
                data_wait=row.values["data_wait"],
                rate=row.values["tiles_per_second"],
            )
            self._heard = time.monotonic()

    def _snapshot(self) -> Snapshot:
        return self._state

    def summary(self) -> None:
        """The last words: what was done, how fast, what the features are worth, where it is."""
        end, training = self._state, self._request.training
        curve = storage.join(self._out, CURVE)
        rows = read_history(self._out)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        storage.put_bytes(curve, lines.encode())
        before = f" ({end.first:,} of them before this run)" if end.first else ""
        loss = [row["loss"] for row in rows if "loss" in row]
        print(f"pretrain: {end.steps:,} steps done{before}, loss {loss[0]:.4f} to {loss[-1]:.4f}")
        tiles = self._trained * training.batch_size
        epochs = end.steps * training.batch_size / self._request.groups.tiles
        seconds = max(0.0, self._heard - self._begun)
        rate = tiles / max(seconds, 1e-9)
        print(f"  tiles   {tiles:,} in this run ({clock(seconds)}, {rate:,.0f} a second)")
        print(f"  epochs  {epochs:.3g} of {self._request.groups.tiles:,} tiles")
        for name in ("knn", "linear"):
            if f"probe_{name}" in self._probe:
                value, low, high = (self._probe[f"probe_{name}{p}"] for p in ("", "_low", "_high"))
                print(f"  {name:<7} {value:.3f} balanced accuracy (95%: {low:.3f}..{high:.3f})")
        print(f"  curve   {curve}")
        if self._tracking.run_id:
            print(f"  mlflow  run {self._tracking.run_id} at {self._tracking.uri}")
        print(f"  encoder {storage.join(self._out, ENCODER)}")

    def _earlier_run(self) -> str | None:
        try:
            content = json.loads(storage.read_bytes(storage.join(self._out, TRACKED)))
        except (FileNotFoundError, ValueError):
            return None
        return str(content["run_id"])

    def _keep_run(self, run_id: str) -> None:
        content = json.dumps({"run_id": run_id}) + "\n"
        storage.put_bytes(storage.join(self._out, TRACKED), content.encode())
