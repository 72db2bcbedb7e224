"""What Prometheus sees of a run: counters and gauges, exported by Ray's agent on each node.

Ray puts `ray_` before the names and `_total` behind counters, and adds the worker's labels.
The label is `command`, not `job`: that one is Prometheus' own. A driver that disconnects from Ray
exports what it published last; counters stay at the agent, gauges go after two of its intervals.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol

from jobs.beside import Beside

if TYPE_CHECKING:
    from ray.util.metrics import Counter, Gauge

PUBLISH_SECONDS = 5.0
COUNTERS = {
    "pathray_slides": ("slides that came to an outcome: done, empty or failed", ("outcome",)),
    "pathray_tiles": ("tiles cut, embedded or trained on", ()),
    "pathray_tiles_lost": ("tiles that could not be decoded", ()),
    "pathray_read_bytes": ("bytes read from slides and shards", ()),
    "pathray_stage_seconds": ("seconds of work, over all workers of a stage", ("stage",)),
    "pathray_encoder_busy_seconds": ("seconds that an encoder of the pool computed", ()),
    "pathray_steps": ("training steps done; those that a lost worker takes back count once", ()),
    "pathray_epochs": ("epochs of folds", ()),
    "pathray_folds": ("folds that came to an outcome: done or failed", ("outcome",)),
    "pathray_bags": ("bags that came to an outcome: done, empty or failed", ("outcome",)),
}
GAUGES = {
    "pathray_slides_open": ("slides that are still to come to an outcome", ()),
    "pathray_stage_workers": ("workers that a stage can have", ("stage",)),
    "pathray_steps_open": ("training steps to go", ()),
    "pathray_loss": ("training loss of the newest row of the curve", ()),
    "pathray_data_wait_share": ("share of the time that training waited for tiles", ()),
    "pathray_folds_open": ("folds that are still to come to an outcome", ()),
    "pathray_bags_open": ("bags that are still to come to an outcome", ()),
}

Metrics = Mapping[str, float | Mapping[str, float]]
"""Values by the names above; those of a metric with a tag by the tag's value."""


class Measured(Protocol):
    """The state of a run, of whatever kind."""

    def metrics(self) -> Metrics:
        """What it comes to; counters count what this run did."""
        ...


def encoder_was_busy(seconds: float) -> None:
    """Counted by each encoder of the pool; one that waits exports a counter that stands."""
    _counter("pathray_encoder_busy_seconds").inc(seconds, {"command": "embed"})


class Publisher(Beside):
    """Publishes what a run's state comes to, while Ray is there."""

    def __init__(self, job: str, snapshot: Callable[[], Measured]) -> None:
        super().__init__()
        self._job, self._snapshot = job, snapshot
        self._told: dict[tuple[str, ...], float] = {}

    def work(self, stopped: threading.Event) -> None:
        """At once, every few seconds, and a last time."""
        self.publish()
        while not stopped.wait(PUBLISH_SECONDS):
            self.publish()
        self.publish()

    def publish(self) -> None:
        """Bring Ray's metrics to the state of now; nothing happens where Ray is not up."""
        if not _ray_is_up():
            return
        for name, tags, value in _flat(self._snapshot().metrics()):
            if name in GAUGES:
                _gauge(name).set(value, {"command": self._job, **tags})
            else:
                self._count(name, value, tags)

    def _count(self, name: str, value: float, tags: dict[str, str]) -> None:
        key = (name, *tags.values())
        told = self._told.get(key)
        # A series begins at 0: Prometheus sees no increase in one that begins with its first
        # failures. `inc` refuses 0.
        if told is None or value > told:
            more = value - (told or 0.0)
            _counter(name)._record(more, {"command": self._job, **tags})
            self._told[key] = value


def _flat(metrics: Metrics) -> Iterator[tuple[str, dict[str, str], float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            _, (tag,) = (COUNTERS | GAUGES)[name]
            yield from ((name, {tag: which}, number) for which, number in value.items())
        else:
            yield name, {}, value


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
