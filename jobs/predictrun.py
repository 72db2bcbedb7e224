"""What `pathray predict` runs: the model, embeddings that fit it, a task a handful of bags.

<out>/<bag>.parquet         a slide's (or a patient's) attention, with its prediction
<out>/predictions.parquet   a row a bag, rebuilt from those at the end
<out>/embeddings/           of --slides: what `pathray embed` makes of them
"""

import io
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from jobs import embed
from jobs.cluster import Capacity, connected
from jobs.metrics import Metrics, Publisher
from jobs.predict import Flags
from jobs.predictrequest import Work, check_encoder, embed_flags, settings_of, works_of
from jobs.progress import SHOWN_FAILURES, Progress, clock
from pathray import outputs, storage
from pathray.bagprediction import predict_bag
from pathray.embeddings import object_name
from pathray.errors import PathrayError, SlideError, one_line
from pathray.metadata import read_metadata
from pathray.modelregistry import is_registered
from pathray.outputs import Outcome
from pathray.slidemodel import SlideModel, load_slide_model

EMBEDDINGS, PREDICTIONS = "embeddings", "predictions.parquet"
BAGS_A_TASK = 8
ATTEMPTS = 3
IMPORTS = ("pathray.bagprediction", "jobs.predictrun")


@dataclass(frozen=True)
class Snapshot:
    """How far a run is. `outcomes` counts the bags that this run settled."""

    bags: int
    settled: int
    outcomes: dict[Outcome, int]
    seconds: float

    def metrics(self) -> Metrics:
        """For Prometheus."""
        return {
            "pathray_bags": {which: float(n) for which, n in self.outcomes.items()},
            "pathray_bags_open": self.bags - self.settled,
        }

    def line(self, job: str) -> str:
        """The run in one line."""
        parts = [f"{self.settled}/{self.bags} bags"]
        new = sum(self.outcomes.values())
        if new:
            left = (self.bags - self.settled) * self.seconds / new
            parts.append(f"{clock(left)} to go")
        return f"{job}: " + " · ".join(parts)


def predict(flags: Flags) -> int:
    """Predict; returns the exit code."""
    out = storage.absolute(flags.out)
    registered = is_registered(flags.model)
    model = load_slide_model(flags.model if registered else storage.absolute(flags.model))
    outputs.refuse_foreign(out)
    with connected(imports=IMPORTS) as capacity:
        code = 0
        embeddings = storage.absolute(flags.embeddings) if flags.embeddings else ""
        if flags.slides is not None:
            embeddings = storage.join(out, EMBEDDINGS)
            embedding = embed_flags(flags, model, embeddings)
            check_encoder(embedding, model, capacity)
            outputs.put_settings(out, settings_of(model))
            code = embed.run(embedding)
        works = works_of(flags, model, embeddings)
        outputs.put_settings(out, settings_of(model))
        return max(code, _Run(model, out, works, capacity).run())


class _Run:
    def __init__(
        self, model: SlideModel, out: str, works: Sequence[Work], capacity: Capacity
    ) -> None:
        self._model, self._out, self._works, self._capacity = model, out, works, capacity
        self._rows: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, str] = {}
        self._outcomes: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)
        self._found = 0
        self._started = time.monotonic()

    def run(self) -> int:
        """Predict what is not there yet; write the table, say the last words."""
        with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
            earlier = list(pool.map(self._earlier, self._works))
        found = zip(self._works, earlier, strict=True)
        self._rows = {work.bag: row for work, row in found if row is not None}
        self._found = len(self._rows)
        todo = [work for work in self._works if work.bag not in self._rows]
        with Progress("predict", self._snapshot), Publisher("predict", self._snapshot):
            for bag, told in self._predicted(todo):
                if isinstance(told, str):
                    self._failed[bag] = told
                    self._outcomes["failed"] += 1
                else:
                    self._rows[bag] = told
                    self._outcomes["done" if told["tiles"] else "empty"] += 1
        return self._summary()

    def _earlier(self, work: Work) -> dict[str, Any] | None:
        """The row of a bag that an earlier run predicted from the same embeddings."""
        uri = storage.join(self._out, object_name(work.bag))
        try:
            metadata = read_metadata(uri)
        except (FileNotFoundError, SlideError):  # a damaged one is made again
            return None
        same = metadata.identity == work.identity
        return dict(metadata.provenance["prediction"]) if same else None

    def _predicted(self, todo: Sequence[Work]) -> Iterator[tuple[str, dict[str, Any] | str]]:
        import ray

        if not todo:
            return
        model = ray.put(self._model)
        task = ray.remote(_predict_bags).options(num_cpus=1, max_retries=ATTEMPTS)
        runs = [todo[i : i + BAGS_A_TASK] for i in range(0, len(todo), BAGS_A_TASK)]
        running = {task.remote(model, self._out, run): run for run in runs}
        while running:
            ended, _ = ray.wait(list(running))
            run = running.pop(ended[0])
            try:
                yield from ray.get(ended[0])
            except ray.exceptions.RayError as error:
                for work in run:
                    yield work.bag, f"its process died ({one_line(error, 120)})"

    def _snapshot(self) -> Snapshot:
        settled = len(self._rows) + len(self._failed)
        seconds = time.monotonic() - self._started
        return Snapshot(len(self._works), settled, dict(self._outcomes), seconds)

    def _summary(self) -> int:
        key = "patient_id" if self._model.head.level == "patient" else "slide_id"
        rows = [{key: bag} | self._rows[bag] for bag in sorted(self._rows)]
        table = storage.join(self._out, PREDICTIONS)
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        storage.put_bytes(table, sink.getvalue())
        empty = sum(not row["tiles"] for row in rows)
        before = f" ({self._found} of them before this run)" if self._found else ""
        print(
            f"predict: {len(self._works)} bags: {len(rows) - empty} done{before}, "
            f"{empty} without tiles, {len(self._failed)} failed, "
            f"{clock(time.monotonic() - self._started)}"
        )
        for bag, error in list(self._failed.items())[:SHOWN_FAILURES]:
            print(f"  failed  {bag}: {error}")
        print(f"  table   {table}")
        return 1 if self._failed else 0


def _predict_bags(
    model: SlideModel, out: str, works: Sequence[Work]
) -> list[tuple[str, dict[str, Any] | str]]:
    """Each bag's row, or why it failed; their objects are put."""
    answers: list[tuple[str, dict[str, Any] | str]] = []
    for work in works:
        try:
            data, row = predict_bag(model, work.files, dict(work.identity), work.patient)
            outputs.put_object(storage.join(out, object_name(work.bag)), data)
            answers.append((work.bag, row))
        except PathrayError as error:
            answers.append((work.bag, one_line(error)))
    return answers
