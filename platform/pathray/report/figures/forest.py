"""The forest plot: each fold's main measure with its interval, and all together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Polygon

from pathray.evaluation.bootstrap import Estimate
from pathray.finetuning.result import RunResult
from pathray.report.figure import COLUMN, Figure
from pathray.report.style import BLUE, INK, QUIET, label
from pathray.report.wording import CHANCE, MEASURES, UNDEFINED, estimated, main_measure, owner

ROW = 0.27
"""Inches a fold."""


@dataclass(frozen=True)
class _Row:
    fold: str
    patients: int
    estimate: Mapping[str, Any]


def forest(result: RunResult) -> Figure:
    """Of AUC, or of the C-index."""
    measure = main_measure(result.task)
    rows = [
        _Row(fold.fold, fold.patients, asdict(fold.scores[measure]))
        for fold in result.evaluation.folds
    ]
    overall = result.evaluation.overall[measure]
    name = MEASURES[measure]
    return Figure.drawn(
        "forest",
        f"{name} of each fold",
        "Points with 95% bootstrap intervals, one a fold; the diamond is all of them together. n: "
        f"tested {owner(result.level)}s. The dashed line is chance.",
        f"Forest plot. All: {name} {estimated(overall)}. "
        + "; ".join(f"fold {row.fold}: {estimated(row.estimate)}" for row in rows),
        {"measure": measure, "overall": asdict(overall), "folds": [asdict(row) for row in rows]},
        (COLUMN, max(2.6, 1.4 + ROW * (len(rows) + 1))),
        partial(_draw, measure, rows, overall, result.evaluation.patients),
    )


def _draw(
    measure: str, rows: Sequence[_Row], overall: Estimate, patients: int, canvas: Canvas
) -> None:
    axes = canvas.subplots()
    axes.axvline(CHANCE[measure], color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    for place, row in enumerate(rows):
        _point(axes, place, row.estimate)
    last = len(rows) + 0.3
    _diamond(axes, last, overall)
    names = [f"fold {label(row.fold, 12)} (n = {row.patients:,})" for row in rows]
    axes.set_yticks([*range(len(rows)), last], [*names, f"all (n = {patients:,})"])
    axes.set_ylim(last + 0.8, -0.7)
    axes.set_xlim(*_range(measure, [*(row.estimate for row in rows), asdict(overall)]))
    right = axes.secondary_yaxis("right")
    right.set_yticks(
        [*range(len(rows)), last], [*(_short(row.estimate) for row in rows), _short(overall)]
    )
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
        side.spines[["left", "right"]].set_visible(False)
    axes.grid(True, axis="x")
    axes.set_xlabel(f"{MEASURES[measure]} (95% interval)")


def _short(estimate: Estimate | Mapping[str, Any]) -> str:
    return estimated(estimate, 2)


def _point(axes: Axes, place: float, estimate: Mapping[str, Any]) -> None:
    if estimate["value"] is None:
        axes.text(0.5, place, UNDEFINED, transform=axes.get_yaxis_transform(),
                  ha="center", va="center", color=QUIET, fontsize=8)  # fmt: skip
        return
    if estimate["low"] is not None:
        axes.hlines(place, estimate["low"], estimate["high"], color=BLUE, linewidth=1.4)
    axes.plot(estimate["value"], place, "s", color=BLUE, markersize=5)


def _diamond(axes: Axes, place: float, overall: Estimate) -> None:
    if overall.value is None:
        _point(axes, place, asdict(overall))
        return
    low, high = overall.low, overall.high
    if low is None or high is None:
        axes.plot(overall.value, place, "D", color=INK, markersize=6)
        return
    corners = [
        (low, place),
        (overall.value, place - 0.3),
        (high, place),
        (overall.value, place + 0.3),
    ]
    axes.add_patch(Polygon(corners, closed=True, facecolor=INK, edgecolor=INK))


def _range(measure: str, estimates: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """From below the lowest bound to 1, chance always in sight."""
    ends = [e[key] for e in estimates for key in ("value", "low") if e[key] is not None]
    low = min([*ends, CHANCE[measure]])
    return float(np.floor((low - 0.02) * 10) / 10), 1.02
