"""What a person is told of the folds: how far they are, and at the end what came of them."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from jobs.finetunefolds import Begun, Ended
from jobs.finetunerequest import Request
from jobs.metrics import Metrics, Publisher
from jobs.progress import SHOWN_FAILURES, Progress, clock
from pathray.evaluation.bootstrap import Estimate
from pathray.finetuning.result import RunResult


@dataclass(frozen=True)
class Snapshot:
    """How far the folds are. `running` holds the newest epoch of each under way and its loss.

    `new` folds and `new_epochs` were done by this run.
    """

    folds: int
    done: int
    failed: int
    epochs: int
    seconds: float
    new: int = 0
    new_epochs: int = 0
    running: dict[str, tuple[int, float]] = field(default_factory=dict)

    def metrics(self) -> Metrics:
        """For Prometheus."""
        return {
            "pathray_folds": {"done": self.new, "failed": self.failed},
            "pathray_epochs": self.new_epochs,
            "pathray_folds_open": self.folds - self.done - self.failed,
        }

    def eta_seconds(self) -> tuple[float, bool] | None:
        """Seconds to go, and whether they are only a bound; None while nothing is known."""
        left = self.folds - self.done - self.failed
        if self.new:
            return self.seconds / self.new * left, False
        epochs = sum(epoch + 1 for epoch, _ in self.running.values())
        if not epochs:
            return None
        return self.seconds / epochs * (left * self.epochs - epochs), True

    def line(self, job: str) -> str:
        """The run in one line."""
        parts = [f"{self.done}/{self.folds} folds"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        for name, (epoch, loss) in sorted(self.running.items())[:3]:
            parts.append(f"fold {name} epoch {epoch + 1}, validation loss {loss:.3f}")
        eta = self.eta_seconds()
        if eta is not None and self.done + self.failed < self.folds:
            parts.append(("at most " if eta[1] else "") + f"{clock(eta[0])} to go")
        elif eta is None:
            parts.append("starting")
        return f"{job}: " + " · ".join(parts)


class Follower:
    """Follows the folds of one run; a context manager that shows progress meanwhile."""

    def __init__(self, request: Request, done: int) -> None:
        self._request, self._before = request, done
        self._running: dict[str, tuple[int, float]] = {}
        self._done: set[str] = set()
        self._epochs = 0
        self.failed: dict[str, str] = {}
        self.started = time.monotonic()
        self._progress = Progress("finetune", self.snapshot)
        self._publisher = Publisher("finetune", self.snapshot)

    def __enter__(self) -> Self:
        counts = self._request.counts
        groups = ", ".join(f"{n} {name}" for name, n in counts.groups.items())
        print(
            f"finetune: {counts.slides} slides of {counts.patients} patients ({groups}), "
            f"{counts.tiles:,} tiles, {len(self._request.folds)} folds",
            file=sys.stderr,
        )
        for line in (*counts.left_out, *counts.notes):
            print(f"finetune: {line}", file=sys.stderr)
        for line in counts.warnings:
            print(f"finetune: warning: {line}", file=sys.stderr)
        sys.stderr.flush()
        self._progress.start()
        self._publisher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._publisher.stop()

    def take(self, event: Begun | Ended) -> None:
        """Hear what a fold says."""
        if isinstance(event, Begun):
            self._epochs += 1
            if event.fold not in self._done and event.fold not in self.failed:
                told = event.epoch
                running = self._running | {event.fold: (told.epoch, told.validation_loss)}
                self._running = running
            return
        self._running = {k: v for k, v in self._running.items() if k != event.fold}
        if event.error is None:
            self._done.add(event.fold)
        else:
            self.failed[event.fold] = event.error

    def snapshot(self) -> Snapshot:
        """The state of the run now."""
        return Snapshot(
            folds=len(self._request.folds),
            done=self._before + len(self._done),
            failed=len(self.failed),
            epochs=self._request.recipe.epochs,
            seconds=time.monotonic() - self.started,
            new=len(self._done),
            new_epochs=self._epochs,
            running=self._running,
        )

    def head(self) -> str:
        """The first line of the summary."""
        end = self.snapshot()
        before = f" ({self._before} of them before this run)" if self._before else ""
        return (
            f"finetune: {end.folds} folds: {end.done} done{before}, {end.failed} failed, "
            f"{clock(end.seconds)}"
        )

    def tell_failures(self) -> None:
        """What failed; there is no result without all folds."""
        print(self.head())
        for name, error in list(self.failed.items())[:SHOWN_FAILURES]:
            print(f"  failed  fold {name}: {error}")
        print("  result  none: it needs every fold; the same command trains the missing ones")


def summary(head: str, result: RunResult, places: Sequence[tuple[str, str]]) -> None:
    """The last words: the cohort, the measures with intervals, where everything is."""
    cohort = result.cohort
    print(head)
    groups = ", ".join(f"{n} {name}" for name, n in cohort.groups.items())
    what = "tiles of {} groups" if result.level == "tile" else "slides of {} patients"
    print(f"  cohort  {cohort.slides:,} {what.format(cohort.patients)} ({groups})")
    for line in cohort.warnings:
        print(f"  warning {line}")
    epochs = [len(fold.history) for fold in result.folds]
    if any(epochs):
        most = result.settings["epochs"]
        print(f"  epochs  {min(epochs)} to {max(epochs)} a fold, of at most {most}")
    for name, estimate in result.evaluation.overall.items():
        print(f"  {name:<17} {told(estimate)}")
    if result.evaluation.details.get("log_rank_p") is not None:
        print(f"  {'log_rank_p':<17} {result.evaluation.details['log_rank_p']:.3g}")
    who = "groups" if result.level == "tile" else "patients"
    print(f"  pooling {result.evaluation.pooling}; 95% intervals over {who}")
    for what, where in places:
        print(f"  {what:<7} {where}")


def told(estimate: Estimate) -> str:
    """A measure with its interval."""
    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
