"""Telling a person how a run goes: a live line on a terminal, a line now and then elsewhere."""

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, get_args

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jobs import logs
from jobs.beside import Beside
from jobs.metrics import Metrics
from pathray.outputs import Outcome, Status

LINE_SECONDS, LIVE_SECONDS = 10.0, 0.5
SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Snapshot:
    """The state of a run. `busy` are seconds by stage, `workers` how many a stage can have.

    `outcomes` counts the slides that this run settled.
    """

    slides: int
    settled: int
    failed: int
    tiles: int
    new_tiles: int
    planned_slides: int
    planned_tiles: int
    todo_slides: int
    seconds: float
    busy: dict[str, float]
    workers: dict[str, float]
    outcomes: dict[str, int] = field(default_factory=dict)
    tiles_lost: int = 0
    bytes_read: int = 0

    @property
    def rate(self) -> float:
        """New tiles a second, everything included."""
        return self.new_tiles / max(self.seconds, 1e-9)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to go, taking unplanned slides for average ones; None while unknown."""
        if not self.planned_slides or not self.rate:
            return None
        expected = self.planned_tiles / self.planned_slides * self.todo_slides
        return max(0.0, expected - self.tiles) / self.rate

    def shares(self) -> dict[str, float]:
        """How busy each stage's workers were, 0..1."""
        return {
            stage: min(1.0, seconds / max(self.seconds * self.workers.get(stage, 1.0), 1e-9))
            for stage, seconds in self.busy.items()
        }

    def metrics(self) -> Metrics:
        """For Prometheus."""
        return {
            "pathray_slides": {which: self.outcomes.get(which, 0) for which in get_args(Outcome)},
            "pathray_tiles": self.new_tiles,
            "pathray_tiles_lost": self.tiles_lost,
            "pathray_read_bytes": self.bytes_read,
            "pathray_stage_seconds": self.busy,
            "pathray_stage_workers": self.workers,
            "pathray_slides_open": self.slides - self.settled,
        }

    def line(self, job: str) -> str:
        """The run in one line."""
        parts = [f"{self.settled}/{self.slides} slides", f"{self.tiles:,} tiles"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.new_tiles:
            parts.append(f"{self.rate:,.0f} tiles/s")
        if self.eta_seconds is not None:
            parts.append(f"{clock(self.eta_seconds)} to go")
        shares = self.shares()
        if shares:
            stage = max(shares, key=lambda name: shares[name])
            parts.append(f"bottleneck: {stage} ({shares[stage]:.0%} busy)")
        else:
            parts.append("starting")
        return f"{job}: " + " · ".join(parts)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Told(Protocol):
    """The state of a run, of whatever kind."""

    def line(self, job: str) -> str:
        """The run in one line."""
        ...


class Progress(Beside):
    """Prints snapshots until stopped."""

    def __init__(self, job: str, snapshot: Callable[[], Told]) -> None:
        super().__init__()
        self._job, self._snapshot = job, snapshot
        self._console = Console(stderr=True)

    def work(self, stopped: threading.Event) -> None:
        """A line that changes on a terminal, lines or log records elsewhere."""
        if logs.wanted():
            while not stopped.wait(LINE_SECONDS):
                logs.log("progress", job=self._job, told=self._snapshot().line(self._job))
            return
        if not self._console.is_terminal:
            while not stopped.wait(LINE_SECONDS):
                print(self._snapshot().line(self._job), file=sys.stderr, flush=True)
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while not stopped.wait(LIVE_SECONDS):
                live.update(Text(self._snapshot().line(self._job)), refresh=True)

    def summary(self, end: Snapshot, resumed: int, statuses: Sequence[Status], index: str) -> None:
        """The last words: what was done, how fast, what failed, where it is."""
        count = [status.status for status in statuses].count
        done = (
            f"{count('done')} done ({resumed} of them before this run)"
            if resumed
            else (f"{count('done')} done")
        )
        print(
            f"{self._job}: {len(statuses)} slides: {done}, {count('empty')} without tissue, "
            f"{count('failed')} failed"
        )
        tiles = sum(status.n_tiles for status in statuses)
        lost = sum(status.tiles_lost for status in statuses)
        speed = f"{end.new_tiles:,} in this run, {clock(end.seconds)}, {end.rate:,.0f} a second"
        print(f"  tiles   {tiles:,} ({speed})" + (f", {lost:,} lost" if lost else ""))
        shares = end.shares()
        for stage, seconds in end.busy.items():
            print(f"  {stage:<7} {seconds:,.1f} s of work, its workers {shares[stage]:.0%} busy")
        failed = [status for status in statuses if status.status == "failed"]
        for status in failed[:SHOWN_FAILURES]:
            print(f"  failed  {status.slide_id}: {status.error}")
        if len(failed) > SHOWN_FAILURES:
            print(f"  failed  … and {len(failed) - SHOWN_FAILURES} more, in the index")
        print(f"  index   {index}")
