"""What each command tells Prometheus: the metrics that are declared, and no other."""

from collections.abc import Mapping

from jobs import finetunefollow, predictrun, pretrainfollow
from jobs.metrics import COUNTERS, GAUGES, Metrics
from jobs.progress import Snapshot

TILED = Snapshot(
    slides=9, settled=4, failed=1, tiles=80, new_tiles=60, planned_slides=9, planned_tiles=200,
    todo_slides=5, seconds=6.0, busy={"cut": 3.5}, workers={"cut": 2.0}, outcomes={"failed": 1},
)  # fmt: skip
TRAINED = pretrainfollow.Snapshot(100, 8, first=40, step=46, loss=1.5, data_wait=0.25)
FOLDED = finetunefollow.Snapshot(5, done=3, failed=1, epochs=9, seconds=6.0, new=2, new_epochs=17)
PREDICTED = predictrun.Snapshot(9, 6, {"done": 2, "empty": 1, "failed": 0}, 6.0)


def test_every_declared_metric_is_told_and_no_other() -> None:
    told: dict[str, float | Mapping[str, float]] = {}
    for snapshot in (TILED, TRAINED, FOLDED, PREDICTED):
        told |= snapshot.metrics()
    on_workers = {"pathray_encoder_busy_seconds"}
    assert told.keys() | on_workers == COUNTERS.keys() | GAUGES.keys()
    for name, value in told.items():
        _, tags = (COUNTERS | GAUGES)[name]
        assert isinstance(value, Mapping) == bool(tags), name


def value_of(metrics: Metrics, name: str) -> object:
    return metrics[f"pathray_{name}"]


def test_counters_count_what_this_run_did_and_begin_at_nothing() -> None:
    assert value_of(TILED.metrics(), "tiles") == 60
    assert value_of(TILED.metrics(), "slides") == {"done": 0, "empty": 0, "failed": 1}
    assert value_of(TRAINED.metrics(), "steps") == 6
    assert value_of(TRAINED.metrics(), "tiles") == 48
    assert value_of(FOLDED.metrics(), "folds") == {"done": 2, "failed": 1}
    begun = pretrainfollow.Snapshot(100, 8)
    assert value_of(begun.metrics(), "steps") == 0
    assert "pathray_loss" not in begun.metrics()


def test_what_is_open_is_what_is_left_of_the_whole() -> None:
    assert value_of(TILED.metrics(), "slides_open") == 5
    assert value_of(TRAINED.metrics(), "steps_open") == 54
    assert value_of(FOLDED.metrics(), "folds_open") == 1
    assert value_of(PREDICTED.metrics(), "bags_open") == 3
