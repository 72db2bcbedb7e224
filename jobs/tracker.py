"""What the driver knows of a run: slides, pieces, outcomes, speed; and what it tells."""

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from jobs.items import Report
from jobs.logs import log
from jobs.metrics import Publisher
from jobs.progress import Progress, Snapshot
from jobs.resume import Found, Results
from pathray import outputs, storage
from pathray.cohort import Slide
from pathray.errors import PathrayError, one_line
from pathray.outputs import Status


@dataclass
class _Open:
    """A slide on its way: the pieces that are put, and what they summed up to."""

    slide: Slide
    identity: dict[str, Any]
    pieces: int | None = None
    planned: int = 0
    put: set[int] = field(default_factory=set)
    tiles: int = 0
    tiles_lost: int = 0
    seconds: float = 0.0
    bytes_read: int = 0
    reader: str | None = None

    def status(self, outcome: outputs.Outcome, error: str | None = None) -> Status:
        return Status(
            self.slide.slide_id,
            self.slide.patient_id,
            self.slide.uri,
            outcome,
            n_tiles=self.tiles if outcome == "done" else 0,
            tiles_lost=self.tiles_lost,
            seconds=round(self.seconds, 3),
            bytes_read=self.bytes_read,
            reader=self.reader,
            error=error,
            identity=self.identity,
        )


class Tracker:
    """Follows a run from its reports, completes slides, writes outcomes and the index.

    A context manager: on leaving, the outcomes that are under way are waited for.
    """

    def __init__(self, job: str, out: str, found: Found, results: Results) -> None:
        self._job, self._out, self._results = job, out, results
        self._resumed = len(found.done)
        self._settled: dict[str, Status] = {}
        self._open = {work.slide.slide_id: _Open(work.slide, work.identity) for work in found.todo}
        self._pool = ThreadPoolExecutor(storage.PARALLEL_REQUESTS)
        self._under_way: list[Future[None]] = []
        self._lock = threading.Lock()
        self._busy: dict[str, float] = {}
        self._tiles = self._tiles_resumed = self._planned_slides = self._planned_tiles = 0
        self._tiles_lost = self._bytes_read = 0
        self._before: Counter[str] = Counter(status.status for status in found.done)
        self._n_slides = len(found.done) + len(found.failed) + len(found.todo)
        self._started = time.monotonic()
        self.stages: dict[str, float] = {}
        """Workers of each stage, for telling which is the bottleneck."""
        for status in found.done:
            self._settled[status.slide_id] = status
        for status in found.failed:
            self._settle(status)
        self._progress = Progress(job, self.snapshot)
        self._publisher = Publisher(job, self.snapshot)

    def __enter__(self) -> Self:
        if self._open:
            self._progress.start()
            self._publisher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            for future in self._under_way:
                future.result()
        finally:
            self._progress.stop()
            self._publisher.stop()
            self._pool.shutdown(cancel_futures=kind is not None)

    def take(self, report: Report) -> None:
        """One report of the pipeline. Repeated ones change nothing."""
        slide = self._open.get(report.slide_id)
        if slide is None:
            return
        with self._lock:
            self._count(slide, report)
        if report.kind == "failed":
            self._close(slide, slide.status("failed", report.error))
        elif slide.pieces == len(slide.put):
            self._close(slide, slide.status("done" if slide.planned else "empty"))

    def _count(self, slide: _Open, report: Report) -> None:
        if report.kind == "planned" and slide.pieces is None:
            slide.pieces, slide.reader = report.pieces, report.reader
            slide.planned = report.tiles
            self._planned_slides += 1
            self._planned_tiles += report.tiles
        elif report.kind == "piece" and report.piece not in slide.put:
            slide.put.add(report.piece)
            slide.tiles += report.tiles
            slide.tiles_lost += report.tiles_lost
            self._tiles += report.tiles
            self._tiles_lost += report.tiles_lost
            self._tiles_resumed += report.tiles if report.resumed else 0
        else:
            return
        slide.bytes_read += report.bytes_read
        self._bytes_read += report.bytes_read
        slide.seconds += sum(report.seconds.values())
        for stage, seconds in report.seconds.items():
            self._busy[stage] = self._busy.get(stage, 0.0) + seconds

    def _close(self, slide: _Open, status: Status) -> None:
        del self._open[slide.slide.slide_id]
        pieces = slide.pieces or 0
        self._under_way.append(self._pool.submit(self._finish, status, pieces))

    def _finish(self, status: Status, pieces: int) -> None:
        if status.status != "failed":
            try:
                status = self._results.complete(status, pieces)
            except PathrayError as error:
                status = replace(status, status="failed", n_tiles=0, error=one_line(error))
            except Exception as error:  # each store has its own exceptions for refusals
                reason = storage.reason(self._out, error)
                status = replace(status, status="failed", n_tiles=0, error=reason)
        self._settle(status)

    def _settle(self, status: Status) -> None:
        status = replace(status, time=datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            outputs.put_status(self._out, status)
        except Exception as error:  # each store has its own exceptions for refusals
            raise PathrayError(f"--out: {storage.reason(self._out, error)}") from error
        with self._lock:
            self._settled[status.slide_id] = status
        log(
            "slide",
            job=self._job,
            slide_id=status.slide_id,
            outcome=status.status,
            tiles=status.n_tiles,
            tiles_lost=status.tiles_lost,
            seconds=status.seconds,
            bytes_read=status.bytes_read,
            error=status.error,
        )

    def snapshot(self) -> Snapshot:
        """The state of the run now."""
        with self._lock:
            outcomes: Counter[str] = Counter(status.status for status in self._settled.values())
            return Snapshot(
                slides=self._n_slides,
                settled=outcomes.total(),
                failed=outcomes["failed"],
                tiles=self._tiles,
                new_tiles=self._tiles - self._tiles_resumed,
                planned_slides=self._planned_slides,
                planned_tiles=self._planned_tiles,
                todo_slides=self._planned_slides + self._unplanned(),
                seconds=time.monotonic() - self._started,
                busy=dict(self._busy),
                workers=dict(self.stages),
                outcomes=dict(outcomes - self._before),
                tiles_lost=self._tiles_lost,
                bytes_read=self._bytes_read,
            )

    def _unplanned(self) -> int:
        return sum(slide.pieces is None for slide in list(self._open.values()))

    def summarise(self) -> int:
        """Write the index, print what was done, return the exit code."""
        for slide in list(self._open.values()):
            reason = "the pipeline ended without its pieces: run again"
            self._settle(slide.status("failed", reason))
        everything = outputs.read_statuses(self._out) | self._settled
        index = outputs.put_index(self._out, list(everything.values()))
        failed = [s for s in self._settled.values() if s.status == "failed"]
        self._progress.summary(self.snapshot(), self._resumed, list(self._settled.values()), index)
        return 1 if failed else 0
