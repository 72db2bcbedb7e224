"""A worker of slide predictions: takes jobs from the store, one after another, while it lives.

Knows no Ray. If its process dies, its lease goes stale and another worker goes on.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from pathray.slides.spool import Spool
from serve.leasing import BEAT_SECONDS, MOST_ATTEMPTS, Leasing
from serve.problem import log_without_text
from serve.results import Job, Lease, Results
from serve.slidejobs import AbandonedError, Report, Services, failed, run_job

log = logging.getLogger("ray.serve.pathray")

POLL_SECONDS = 2.0
"""How often an idle worker looks for jobs that nobody woke it for."""
STOP_SECONDS = 20.0


class JobWorker:
    """A thread that works. `services` makes what a job needs, given where to report to.

    `ended` is told the outcome of each job, `done` or `failed`.
    """

    def __init__(
        self,
        results: Results,
        services: Callable[[Report], Services],
        spool: Spool,
        name: str,
        ended: Callable[[str], None],
    ) -> None:
        self._results, self._services, self._spool = results, services, spool
        self._ended = ended
        self._leasing = Leasing(results, name)
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to do: look now."""
        self._wake.set()

    def is_alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End within a batch of tiles; the job at hand is left to others at once."""
        self._stop.set()
        self._wake.set()
        self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                taken = self._leasing.take()
                if taken:
                    self._do(*taken)
                    continue
            except Exception as error:  # a store out of reach comes back
                log_without_text("slide worker", error)
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def _do(self, job: Job, lease: Lease) -> None:
        done = self._results.record(job.id)
        if done is not None:  # a worker died between publishing and clearing
            self._results.finish(job.id, done)
        elif lease.attempt > MOST_ATTEMPTS:
            self._fail(job, f"{MOST_ATTEMPTS} workers died while they worked on this slide")
        else:
            log.info("prediction %s: attempt %d", job.id, lease.attempt)
            self._attempt(job, lease)

    def _attempt(self, job: Job, lease: Lease) -> None:
        with _Beating(self._leasing, job.id, lease, self._stop) as beating:
            try:
                outcome = run_job(job, self._results, self._services(beating.report), self._spool)
            except AbandonedError:
                log.info("prediction %s: left to another worker", job.id)
            except Exception as error:
                log_without_text(f"prediction {job.id}", error)
                self._fail(job, f"the server failed on this slide ({type(error).__name__})")
            else:
                self._ended(outcome)
                return
        if self._stop.is_set():
            self._results.drop_lease(job.id)

    def _fail(self, job: Job, reason: str) -> None:
        self._results.finish(job.id, failed(job, reason).model_dump(mode="json"))
        self._ended("failed")


class _Beating:
    """Renews a lease from a thread of its own while a job is done, with the job's progress."""

    def __init__(self, leasing: Leasing, id: str, lease: Lease, stop: threading.Event) -> None:
        self._leasing, self._id, self._lease, self._stop = leasing, id, lease, stop
        self._lost, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "_Beating":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def report(self, stage: str, done: int, tiles: int | None) -> None:
        """Note the progress; AbandonedError when this worker is to stop."""
        self._lease = replace(self._lease, stage=stage, tiles_done=done, tiles=tiles)
        if self._lost.is_set() or self._stop.is_set():
            raise AbandonedError

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                renewed = self._leasing.renew(self._id, self._lease)
            except Exception as error:  # a beat may be missed
                log_without_text("lease", error)
                continue
            if renewed is None:
                self._lost.set()
                return
            self._lease = replace(self._lease, beat=renewed.beat)
