"""A run's curve survives the run's deaths, each step once."""

from pathlib import Path

from pathray.pretraining.events import Row
from pathray.pretraining.history import put_history, read_history


def row(step: int) -> Row:
    return Row(step, {"loss": 1.0 / step})


def test_a_resumed_run_has_every_step_once(tmp_path: Path):
    out = str(tmp_path)
    assert read_history(out) == []
    put_history(out, 2, [row(1), row(2)])
    put_history(out, 4, [row(3), row(4)])  # its checkpoint never came; the run starts at 2 again
    put_history(out, 5, [row(3), row(4), row(5)])
    put_history(out, 5, [])
    assert read_history(out) == [{"step": s, "loss": 1.0 / s} for s in range(1, 6)]
