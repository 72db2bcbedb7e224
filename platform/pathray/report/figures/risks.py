"""How risks are spread in each fold, of patients with and without the event."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from pathray.finetuning.result import RunResult
from pathray.report.figure import PAGE, Figure, numbers
from pathray.report.style import BLUE, ORANGE, QUIET, label

ROW = 0.42
"""Inches a fold."""
SPREAD = 0.28
"""Half the height over which the dots of a row are strewn, so that few cover each other."""


def risks(result: RunResult) -> Figure:
    """A row a fold; each is measured from its own cut, as risks of different models are not
    comparable."""
    rows = [_row(fold.tested_survival()) for fold in result.folds]
    return Figure.drawn(
        "risks",
        "Predicted risks",
        "Tested patients, one a dot. Risks are counted from the cut of each fold, the median of "
        "its training patients: right of the dashed line is high risk. Scales of different folds "
        "are not comparable.",
        "Dot plot of predicted risks in each fold, by whether the event was seen.",
        {"folds": rows},
        (PAGE, max(2.8, 1.5 + ROW * len(rows))),
        partial(_draw, rows),
    )


def _row(test: Any) -> dict[str, Any]:
    predictions = test.predictions
    return {
        "fold": test.fold.name,
        "event": predictions.follow_up.event.tolist(),
        "above_cut": numbers(predictions.risk - test.cut),
    }


def _draw(rows: Sequence[dict[str, Any]], canvas: Canvas) -> None:
    axes = canvas.subplots()
    axes.axvline(0, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    for name, seen, colour in (("censored", False, BLUE), ("event", True, ORANGE)):
        _dots(axes, rows, name, seen, colour)
    names = [f"fold {label(row['fold'], 12)} (n = {len(row['event'])})" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    axes.set_xlabel("Risk above the fold's cut")
    canvas.legend(loc="outside upper right", ncols=2)


def _dots(axes: Axes, rows: Sequence[dict[str, Any]], name: str, seen: bool, colour: str) -> None:
    rng = np.random.default_rng(int(seen))
    picked = [
        (risk, place)
        for place, row in enumerate(rows)
        for risk, event in zip(row["above_cut"], row["event"], strict=True)
        if event == seen
    ]
    x, y = np.array(picked).reshape(-1, 2).T
    strewn = y + rng.uniform(-SPREAD, SPREAD, len(y))
    axes.plot(
        x, strewn, "o", markersize=4, markerfacecolor=colour if seen else "none",
        markeredgecolor=colour, markeredgewidth=0.9, alpha=0.75, rasterized=True,
        label=f"{name} (n = {len(y):,})",
    )  # fmt: skip
