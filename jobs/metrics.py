"""What Prometheus sees of a run: counters and gauges, exported by Ray's agent on each node.

Ray puts `ray_` before the names and `_total` behind counters, and adds the worker's labels.
The label is `command`, not `job`: that one is Prometheus' own.
"""

import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from jobs.beside import Beside
from jobs.progress import Snapshot

if TYPE_CHECKING:
    from ray.util.metrics import Counter, Gauge

PUBLISH_SECONDS = 5.0
COUNTERS = {
    "pathray_slides": ("slides that came to an outcome: done, empty or failed", ("outcome",)),
    "pathray_tiles": ("tiles cut or embedded", ()),
    "pathray_tiles_lost": ("tiles that could not be decoded", ()),
    "pathray_read_bytes": ("bytes read from slides and shards", ()),
    "pathray_stage_seconds": ("seconds of work, over all workers of a stage", ("stage",)),
    "pathray_encoder_busy_seconds": ("seconds that an encoder of the pool computed", ()),
}
GAUGES = {
    "pathray_slides_open": ("slides that are still to come to an outcome", ()),
    "pathray_stage_workers": ("workers that a stage can have", ("stage",)),
}


def encoder_was_busy(seconds: float) -> None:
    """Counted by each encoder of the pool; one that waits exports a counter that stands."""
    _counter("pathray_encoder_busy_seconds").inc(seconds, {"command": "embed"})


class Publisher(Beside):
    """Publishes what has changed between snapshots, while Ray is there."""

    def __init__(self, job: str, snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._job, self._snapshot = job, snapshot
        self._told: dict[tuple[str, str], float] = {}

    def work(self, stopped: threading.Event) -> None:
        """Every few seconds, and a last time."""
        while not stopped.wait(PUBLISH_SECONDS):
            self.publish()
        self.publish()

    def publish(self) -> None:
        """Bring the counters to the snapshot of now; nothing happens where Ray is not up."""
        if not _ray_is_up():
            return
        now = self._snapshot()
        for outcome, slides in now.outcomes.items():
            self._count("pathray_slides", slides, outcome=outcome)
        self._count("pathray_tiles", now.new_tiles)
        self._count("pathray_tiles_lost", now.tiles_lost)
        self._count("pathray_read_bytes", now.bytes_read)
        for stage, seconds in now.busy.items():
            self._count("pathray_stage_seconds", seconds, stage=stage)
        for stage, workers in now.workers.items():
            _gauge("pathray_stage_workers").set(workers, {"command": self._job, "stage": stage})
        _gauge("pathray_slides_open").set(now.slides - now.settled, {"command": self._job})

    def _count(self, name: str, value: float, **tags: str) -> None:
        key = (name, "".join(tags.values()))
        more = value - self._told.get(key, 0.0)
        if more > 0:
            _counter(name).inc(more, {"command": self._job, **tags})
            self._told[key] = value


def _ray_is_up() -> bool:
    # Ray is not imported for this: where it is up, it has been.
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


@cache
def _counter(name: str) -> "Counter":
    from ray.util.metrics import Counter

    description, tags = COUNTERS[name]
    return Counter(name, description, tag_keys=("command", *tags))


@cache
def _gauge(name: str) -> "Gauge":
    from ray.util.metrics import Gauge

    description, tags = GAUGES[name]
    return Gauge(name, description, tag_keys=("command", *tags))
