"""Calibration: how often a prediction is right, by how sure it was."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from pathray.evaluation.metrics import CALIBRATION_BINS, reliability
from pathray.finetuning.result import RunResult
from pathray.report.figure import COLUMN, Figure, numbers
from pathray.report.style import BLUE, QUIET, gaps
from pathray.report.wording import count, estimated, owner

WILSON_Z = 1.959964
"""The normal quantile of a 95% interval."""


@dataclass(frozen=True)
class _Bins:
    """Of each bin of confidence: predictions, their patients, mean confidence, the share that
    is right with its interval; None where the bin is empty."""

    count: list[int]
    patients: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]
    low: list[float | None]
    high: list[float | None]


def calibration(result: RunResult) -> Figure:
    """Accuracy against confidence in the bins of the calibration error, with counts."""
    bins = _bins(result)
    ece = estimated(result.evaluation.overall["ece"])
    return Figure.drawn(
        "calibration",
        "Calibration",
        "Predictions by the probability of their most probable class. On the dashed line a model "
        "is right as often as it says; below it, it is too sure. Bars: 95% Wilson intervals for "
        f"as many {owner(result.level)}s as a bin holds. ECE: the mean distance from the line.",
        f"Share of right predictions by predicted probability. Calibration error {ece}.",
        asdict(bins),
        (COLUMN, 4.6),
        partial(_draw, bins, ece),
    )


def _bins(result: RunResult) -> _Bins:
    tested = [fold.tested_classes(result.classes) for fold in result.folds]
    labels = np.concatenate([one.labels.values for one in tested])
    probabilities = np.concatenate([one.probabilities for one in tested])
    owners = np.array([patient for one in tested for patient in one.patients])
    found = reliability(labels, probabilities)
    number = np.ceil(probabilities.max(axis=1) * CALIBRATION_BINS).astype(int) - 1
    patients = [len(set(owners[number == bin])) for bin in range(CALIBRATION_BINS)]
    low, high = wilson(found.accuracy, np.array(patients, float))
    return _Bins(
        count=found.count.astype(int).tolist(),
        patients=patients,
        confidence=numbers(found.confidence),
        accuracy=numbers(found.accuracy),
        low=numbers(low),
        high=numbers(high),
    )


def wilson(share: Sequence[float] | np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95% interval of a share among n (Wilson 1927); nan where n is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share, square = np.asarray(share, float), WILSON_Z**2 / n
        middle = (share + square / 2) / (1 + square)
        half = WILSON_Z / (1 + square) * np.sqrt(share * (1 - share) / n + square / (4 * n))
    return middle - half, middle + half


def _draw(bins: _Bins, ece: str, canvas: Canvas) -> None:
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    x, y = gaps(bins.confidence), gaps(bins.accuracy)
    above.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    above.vlines(x, gaps(bins.low), gaps(bins.high), color=BLUE, linewidth=1.2, alpha=0.6)
    above.plot(x, y, "o", color=BLUE, markersize=5)
    above.set(ylabel="Share that is right", ylim=(-0.02, 1.02))
    above.grid(True)
    centres = (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
    below.bar(centres, bins.count, width=0.9 / CALIBRATION_BINS, color=QUIET)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lowest = next(index for index, n in enumerate(bins.count) if n) / CALIBRATION_BINS
    below.set(
        xlabel="Probability of the most probable class",
        ylabel="Count",
        xlim=(max(0.0, lowest - 0.03), 1.02),
    )
    above.set_title(f"{count(sum(bins.count), 'prediction')}, ECE {ece}")
