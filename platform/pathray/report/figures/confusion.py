"""The confusion matrix: counts, and shares of each true class."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pathray.finetuning.result import RunResult
from pathray.report.figure import COLUMN, PAGE, Figure, numbers
from pathray.report.style import INK, wrapped
from pathray.report.wording import count


def confusion(result: RunResult) -> Figure:
    """True class by most probable class."""
    counts = np.array(result.evaluation.details["confusion"], int)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    repeats = len({fold.fold.repeat for fold in result.folds})
    again = f" Summed over {repeats} repeats." if repeats > 1 else ""
    right = [
        f"{name} {_percent(share)} right"
        for name, share in zip(result.classes, np.diag(shares), strict=True)
    ]
    return Figure.drawn(
        "confusion",
        "Confusion matrix",
        f"Rows are the true classes, columns the most probable ones; percentages are of the row."
        f"{again}",
        f"Confusion matrix of {result.target}: {', '.join(right)}.",
        {
            "classes": list(result.classes),
            "counts": counts.tolist(),
            "shares": [numbers(row) for row in shares],
            "repeats": repeats,
        },
        _size(len(counts)),
        partial(_draw, result.classes, counts, shares),
    )


def _size(classes: int) -> tuple[float, float]:
    return (COLUMN, 4.6) if classes <= 4 else (PAGE, 1.6 + 0.75 * classes)


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.0%}"


def _draw(
    classes: tuple[str, ...],
    counts: NDArray[np.integer],
    shares: NDArray[np.floating],
    canvas: Canvas,
) -> None:
    axes = canvas.subplots()
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ticks = range(len(classes))
    axes.set_xticks(ticks, [wrapped(name) for name in classes])
    totals = counts.sum(axis=1).tolist()
    rows = [f"{wrapped(name)}\nn = {n:,}" for name, n in zip(classes, totals, strict=True)]
    axes.set_yticks(ticks, rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), n in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.55 else INK
        text = f"{_percent(float(shares[row, column]))}\n{n:,}"
        axes.text(column, row, text, ha="center", va="center", color=colour, linespacing=1.4)
    for i in ticks:  # the diagonal, where predictions are right
        axes.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1))
    axes.set(xlabel="Most probable class", ylabel="True class")
    axes.set_title(count(int(counts.sum()), "prediction"))
