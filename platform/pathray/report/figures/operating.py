"""ROC and precision-recall curves: each fold thin, all together with an interval band."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from pathray.evaluation.metrics import auc, average_precision
from pathray.evaluation.predictions import ClassPredictions
from pathray.evaluation.repeats import by_repeat
from pathray.finetuning.result import RunResult
from pathray.ranking import tied_sums
from pathray.report.figure import COLUMN, PAGE, Figure
from pathray.report.figures.bands import Band, Curve, estimated_as
from pathray.report.style import BLUE, FAINT, QUIET, gaps, label, panels, unit_square
from pathray.report.wording import count, estimated, owner

Floats = NDArray[np.floating]
Booleans = NDArray[np.bool_]
Measure = Callable[[Floats, Booleans, Floats], Floats]
"""(B, …) of score (n,), whether each row is a case (n,), and weights (B, n)."""

GRID = np.linspace(0, 1, 101)
"""False-positive rates of a ROC curve, recalls of a precision-recall curve."""
COLUMNS = 3


@dataclass(frozen=True)
class _Kind:
    """`curve` (B, G) at `GRID`; `area` is the table's measure of it."""

    name: str
    title: str
    across: str
    up: str
    measure: str
    short: str
    curve: Measure
    area: Callable[[NDArray[np.integer], Floats, Floats], Floats]
    caption: str


@dataclass(frozen=True)
class _ClassCurves:
    """One class (`cases` bags) against the rest (`controls`); curves are at `GRID`."""

    name: str
    rest: str
    cases: int
    controls: int
    area: Mapping[str, Any]
    band: Band
    folds: Mapping[str, list[float | None]]
    undrawn: tuple[str, ...]


def roc(result: RunResult) -> Figure:
    """True-positive against false-positive rate."""
    return _figure(result, ROC)


def precision_recall(result: RunResult) -> Figure:
    """Precision against recall."""
    return _figure(result, PRECISION_RECALL)


def roc_curve(score: Floats, case: Booleans, weights: Floats) -> Floats:
    """True-positive rates (B, G) at the false-positive rates of `GRID`."""
    found, called = _from_the_top(score, case, weights)
    curves = np.full((len(found), len(GRID)), np.nan)
    for row, (true, false) in enumerate(zip(found, called, strict=True)):
        if true[-1] and false[-1]:
            curves[row] = np.interp(GRID, np.r_[0, false / false[-1]], np.r_[0, true / true[-1]])
    return curves


def precision_recall_curve(score: Floats, case: Booleans, weights: Floats) -> Floats:
    """Precisions (B, G) at the highest threshold that reaches each recall of `GRID`."""
    found, called = _from_the_top(score, case, weights)
    curves = np.full((len(found), len(GRID)), np.nan)
    for row, (true, false) in enumerate(zip(found, called, strict=True)):
        if true[-1]:
            some = true + false > 0
            recall, precision = true[some] / true[-1], true[some] / (true + false)[some]
            curves[row] = precision[np.searchsorted(recall, GRID - 1e-9)]
    return curves


def _from_the_top(score: Floats, case: Booleans, weights: Floats) -> tuple[Floats, Floats]:
    """Cases, and controls, (B, distinct scores) at or above each score, the highest first."""
    cases, controls = (tied_sums(score, weights * which) for which in (case, ~case))
    return np.cumsum(cases[:, ::-1], axis=1), np.cumsum(controls[:, ::-1], axis=1)


ROC = _Kind(
    name="roc",
    title="ROC curve",
    across="False-positive rate (1 - specificity)",
    up="True-positive rate (sensitivity)",
    measure="AUC",
    short="AUC",
    curve=roc_curve,
    area=auc,
    caption="Each point is a threshold on the predicted probability. The dashed line is chance.",
)
PRECISION_RECALL = _Kind(
    name="precision_recall",
    title="Precision-recall curve",
    across="Recall (sensitivity)",
    up="Precision (predictive value)",
    measure="average precision",
    short="AP",
    curve=precision_recall_curve,
    area=average_precision,
    caption="Each point is a threshold on the predicted probability; AP is the average precision. "
    "The dashed line is chance: the share of the class.",
)


def _figure(result: RunResult, kind: _Kind) -> Figure:
    found = [_curves(result, kind, number) for number in _judged(result.classes)]
    one = len(found) == 1
    size = (COLUMN, 4.6) if one else (PAGE, 3.6 * -(-len(found) // COLUMNS))
    each = "; ".join(f"{curves.name}: {kind.measure} {estimated(curves.area)}" for curves in found)
    many = "Thin lines are folds. " if len(result.folds) > 1 else ""
    return Figure.drawn(
        kind.name,
        kind.title,
        f"{kind.caption} {many}The band holds 95% of bootstrap resamples of "
        f"{owner(result.level)}s.",
        f"{kind.title} of {result.target}. {each}.",
        {"grid": GRID.round(2).tolist(), "classes": [asdict(curves) for curves in found]},
        size,
        partial(_draw, kind, found, result),
    )


def _judged(classes: Sequence[str]) -> list[int]:
    """Of two classes the second stands for both."""
    return [1] if len(classes) == 2 else list(range(len(classes)))


def _curves(result: RunResult, kind: _Kind, number: int) -> _ClassCurves:
    tested = [fold.tested_classes(result.classes) for fold in result.folds]
    samples = [_sample(folds, kind.curve, number) for folds in by_repeat(tested)]
    areas = [_sample(folds, partial(_area, kind), number) for folds in by_repeat(tested)]
    each = {one.fold.name: _sample([one], kind.curve, number).itself() for one in tested}
    truth = dict(
        row for one in tested for row in zip(one.bags, one.labels.values.tolist(), strict=True)
    )
    cases = sum(label == number for label in truth.values())
    return _ClassCurves(
        name=result.classes[number],
        rest=result.classes[0] if len(result.classes) == 2 else "the rest",
        cases=cases,
        controls=len(truth) - cases,
        area=asdict(estimated_as(result, areas)["0"]),
        band=Band.over(samples, result),
        folds={name: curve for name, curve in each.items() if _defined(curve)},
        undrawn=tuple(name for name, curve in each.items() if not _defined(curve)),
    )


def _sample(folds: Sequence[ClassPredictions], measure: Measure, number: int) -> Curve:
    """One class against the rest in pooled folds."""
    score = np.concatenate([fold.probabilities[:, number] for fold in folds])
    case = np.concatenate([fold.labels.values == number for fold in folds])
    patients = tuple(patient for fold in folds for patient in fold.patients)
    return Curve(patients, partial(measure, score, case))


def _area(kind: _Kind, score: Floats, case: Booleans, weights: Floats) -> Floats:
    """The measure of the table (B, 1), of one class against the rest."""
    both = np.stack([1 - score, score], axis=1)
    return kind.area(case.astype(int), both, weights)[:, None]


def _defined(curve: Sequence[float | None]) -> bool:
    return any(value is not None for value in curve)


def _draw(kind: _Kind, found: Sequence[_ClassCurves], result: RunResult, canvas: Canvas) -> None:
    for place, (axes, curves) in enumerate(
        zip(panels(canvas, len(found), COLUMNS), found, strict=True)
    ):
        unit_square(axes)
        _draw_class(axes, kind, curves, result)
        axes.set(xlabel=kind.across, ylabel="" if place % COLUMNS else kind.up)


def _draw_class(axes: Axes, kind: _Kind, curves: _ClassCurves, result: RunResult) -> None:
    share = curves.cases / max(curves.cases + curves.controls, 1)
    chance = [0, 1] if kind is ROC else [share, share]
    axes.plot([0, 1], chance, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    if len(result.folds) > 1:
        for number, curve in enumerate(curves.folds.values()):
            start = [0.0] if kind is ROC else []
            axes.plot(
                np.r_[start, GRID], np.r_[start, gaps(curve)], color=FAINT, linewidth=0.8,
                label="" if number else f"each fold ({len(curves.folds)})",
            )  # fmt: skip
    curves.band.draw(axes, GRID, BLUE, f"{kind.short} {estimated(curves.area, 2)}")
    if curves.undrawn:
        lost = count(len(curves.undrawn), "fold")
        axes.plot([], [], linestyle="none", label=f"{lost} undefined")
    axes.set_title(
        f"{label(curves.name)} ({count(curves.cases, result.level)})\n"
        f"against {label(curves.rest)} ({curves.controls:,})"
    )
    axes.legend(loc="lower right" if kind is ROC else "lower left")
