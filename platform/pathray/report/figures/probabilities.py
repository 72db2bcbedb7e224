"""How probabilities are spread over bags of a class and bags of the others."""

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure as Canvas

from pathray.finetuning.result import RunResult
from pathray.report.figure import COLUMN, PAGE, Figure, numbers
from pathray.report.style import BLUE, ORANGE, gaps, label, panels

BINS = 20


@dataclass(frozen=True)
class _Spread:
    """Shares of the bags of a class, and of the others, in equal bins of its probability."""

    name: str
    rest: str
    of_class: int
    of_others: int
    class_share: list[float | None]
    others_share: list[float | None]


def probabilities(result: RunResult) -> Figure:
    """Histograms of the probability of each class; of two classes, of the second."""
    numbers_of = [1] if len(result.classes) == 2 else range(len(result.classes))
    found = [_spread(result, number) for number in numbers_of]
    size = (COLUMN, 4.6) if len(found) == 1 else (PAGE, 3.2 * -(-len(found) // 3))
    return Figure.drawn(
        "probabilities",
        "Predicted probabilities",
        "The further apart the two histograms lie, the better a class is told from the others.",
        "Histograms of predicted probabilities by true class: "
        + ", ".join(f"{one.name} ({one.of_class} predictions)" for one in found),
        {"edges": np.linspace(0, 1, BINS + 1).round(2).tolist()}
        | {"classes": [asdict(one) for one in found]},
        size,
        partial(_draw, found),
    )


def _spread(result: RunResult, number: int) -> _Spread:
    tested = [fold.tested_classes(result.classes) for fold in result.folds]
    values = np.concatenate([one.probabilities[:, number] for one in tested])
    mine = np.concatenate([one.labels.values for one in tested]) == number
    two = len(result.classes) == 2
    return _Spread(
        name=result.classes[number],
        rest=result.classes[0] if two else "another class",
        of_class=int(mine.sum()),
        of_others=int((~mine).sum()),
        class_share=_shares(values[mine]),
        others_share=_shares(values[~mine]),
    )


def _shares(values: np.ndarray) -> list[float | None]:
    counts = np.histogram(values, BINS, (0, 1))[0]
    return numbers(counts / max(len(values), 1))


def _draw(found: list[_Spread], canvas: Canvas) -> None:
    edges = np.linspace(0, 1, BINS + 1)
    for axes, one in zip(panels(canvas, len(found), 3), found, strict=True):
        groups = [
            (one.others_share, BLUE, f"{label(one.rest, 20)} (n = {one.of_others:,})"),
            (one.class_share, ORANGE, f"{label(one.name, 20)} (n = {one.of_class:,})"),
        ]
        for shares, colour, name in groups:
            heights = 100 * gaps(shares)
            axes.stairs(heights, edges, color=colour, alpha=0.25, fill=True)
            axes.stairs(heights, edges, color=colour, linewidth=1.4, label=f"truly {name}")
        axes.set(
            xlabel=f"Probability of {label(one.name)}",
            ylabel="Share (%)",
            xlim=(0, 1),
        )
        axes.set_ylim(0, 1.35 * max(axes.get_ylim()[1] / 1.05, 1))
        axes.grid(True, axis="y")
        axes.legend(loc="upper center")
