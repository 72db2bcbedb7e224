"""Training curves: losses of training and validation by epoch, and the epoch that was kept."""

from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from pathray.finetuning.result import FoldRecord, RunResult
from pathray.report.figure import COLUMN, PAGE, Figure, numbers
from pathray.report.style import BLUE, INK, ORANGE, gaps, label, panels
from pathray.report.wording import owner

COLUMNS = 5


def training(result: RunResult) -> Figure:
    """One panel a fold, with the same scale."""
    folds = [fold for fold in result.folds if fold.history]
    rows = -(-len(folds) // COLUMNS)
    size = (COLUMN, 3.4) if len(folds) == 1 else (PAGE, 0.7 + 1.9 * rows)
    return Figure.drawn(
        "training",
        "Training",
        "Mean loss by epoch. The circle marks the epoch whose model was kept: the lowest loss of "
        f"validation {owner(result.level)}s, which are neither trained on nor tested.",
        "Losses by epoch; "
        + ", ".join(f"fold {fold.fold.name}: epoch {fold.best_epoch} kept" for fold in folds),
        {"folds": [_data(fold) for fold in folds]},
        size,
        partial(_draw, folds),
    )


def _data(fold: FoldRecord) -> dict[str, Any]:
    return {
        "fold": fold.fold.name,
        "best_epoch": fold.best_epoch,
        "epoch": [each.epoch for each in fold.history],
        "train_loss": numbers([each.train_loss for each in fold.history]),
        "validation_loss": numbers([each.validation_loss for each in fold.history]),
    }


def _draw(folds: list[FoldRecord], canvas: Canvas) -> None:
    grid = panels(canvas, len(folds), COLUMNS, sharex=True, sharey=True)
    for axes, fold in zip(grid, folds, strict=True):
        _draw_fold(axes, fold)
    handles, names = grid[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside upper right", ncols=3)
    canvas.supxlabel("Epoch", fontsize=9.5)
    canvas.supylabel("Loss", fontsize=9.5)


def _draw_fold(axes: Axes, fold: FoldRecord) -> None:
    data = _data(fold)
    alone = "." if len(fold.history) == 1 else ""
    for key, colour, name in (
        ("train_loss", BLUE, "training"),
        ("validation_loss", ORANGE, "validation"),
    ):
        axes.plot(
            data["epoch"], gaps(data[key]), color=colour, marker=alone, linewidth=1.3, label=name
        )
    kept = [each.validation_loss for each in fold.history if each.epoch == fold.best_epoch]
    axes.plot(
        [fold.best_epoch] * len(kept), kept, "o", markersize=7, markerfacecolor="none",
        markeredgecolor=INK, label="kept",
    )  # fmt: skip
    axes.set_title(f"fold {label(fold.fold.name, 14)}, epoch {fold.best_epoch}", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(True)
