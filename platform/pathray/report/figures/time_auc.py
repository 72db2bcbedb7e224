"""AUC over time: how well risks tell who has had the event by a time from who has not."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from pathray.evaluation.bootstrap import nan_mean
from pathray.evaluation.repeats import by_repeat
from pathray.evaluation.survival import SurvivalTest
from pathray.finetuning.result import RunResult
from pathray.report.figure import COLUMN, Figure, numbers
from pathray.report.figures.bands import Band, Curve
from pathray.report.protocol import time_axis
from pathray.report.style import BLUE, FAINT, QUIET, gaps
from pathray.report.wording import estimated
from pathray.survival.auc import auc_at
from pathray.survival.censoring import censoring_curve

Floats = NDArray[np.floating]

POINTS = 25


@dataclass(frozen=True)
class _FoldCurve:
    fold: str
    time: list[float | None]
    auc: list[float | None]


def time_auc(result: RunResult) -> Figure:
    """Each fold at its own times, and the mean over folds where all have times."""
    tested = [fold.tested_survival() for fold in result.folds]
    folds = [_fold(test) for test in tested]
    times = shared_times(tested)
    samples = [_sample(repeat, times) for repeat in by_repeat(tested)]
    band = Band.over(samples, result) if len(times) else Band([], [], [])
    overall = estimated(result.evaluation.overall["auc"])
    return Figure.drawn(
        "time_auc",
        "AUC over time",
        "At each time, the chance that a patient with the event by then had a higher risk than "
        "one without it yet (Uno; weighted against censoring). Thin lines are folds, the band "
        "holds 95% of bootstrap resamples of patients. The dashed line is chance.",
        f"AUC over time; its mean over times and folds is {overall}.",
        {"time": numbers(times), "band": asdict(band), "folds": [asdict(each) for each in folds]},
        (COLUMN, 4.2),
        partial(_draw, folds, times, band, overall, time_axis(result)),
    )


def shared_times(tested: Sequence[SurvivalTest]) -> Floats:
    """Even times (25,) from the last fold's first time to the first fold's last one; none where
    folds do not overlap."""
    own = [test.times for test in tested if len(test.times)]
    low = max((times[0] for times in own), default=0.0)
    high = min((times[-1] for times in own), default=0.0)
    return np.linspace(low, high, POINTS) if low < high else np.empty(0)


def _fold(test: SurvivalTest) -> _FoldCurve:
    predictions = test.predictions
    curve = auc_at(
        predictions.follow_up, predictions.risk, test.times, censoring_curve(test.training)
    )
    return _FoldCurve(test.fold.name, numbers(test.times), numbers(curve[0]))


def _sample(folds: Sequence[SurvivalTest], times: Floats) -> Curve:
    """The mean over the folds of a repeat at which the AUC is defined."""
    patients = tuple(patient for test in folds for patient in test.predictions.patients)
    borders = np.cumsum([len(test.predictions.patients) for test in folds])[:-1]
    censoring = [censoring_curve(test.training) for test in folds]

    def over(weights: Floats) -> Floats:
        parts = zip(folds, censoring, np.split(weights, borders, axis=1), strict=True)
        return nan_mean(
            [
                auc_at(test.predictions.follow_up, test.predictions.risk, times, curve, part)
                for test, curve, part in parts
            ]
        )

    return Curve(patients, over)


def _draw(
    folds: Sequence[_FoldCurve],
    times: Floats,
    band: Band,
    overall: str,
    axis: str,
    canvas: Canvas,
) -> None:
    axes = canvas.subplots()
    axes.axhline(0.5, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    several = len(folds) > 1
    for place, each in enumerate(folds if several else []):
        axes.plot(
            gaps(each.time), gaps(each.auc), color=FAINT, linewidth=0.8, marker=".", markersize=3,
            label="" if place else f"each fold ({len(folds)})",
        )  # fmt: skip
    if len(times):
        band.draw(axes, times, BLUE, "mean of folds" if several else "AUC at a time")
    drawn = np.concatenate([gaps(each.auc) for each in folds] + [gaps(band.low), [0.45]])
    axes.set(xlabel=axis, ylabel="AUC", ylim=(np.nanmin(drawn) - 0.05, 1.02))
    axes.grid(True)
    axes.set_title(f"mean over times {overall}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right")
