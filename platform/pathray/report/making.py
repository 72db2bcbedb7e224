"""From a run's result to its report."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pathray.finetuning.result import RunResult
from pathray.report.content import content
from pathray.report.figure import Figure
from pathray.report.figures.calibration import calibration
from pathray.report.figures.confusion import confusion
from pathray.report.figures.forest import forest
from pathray.report.figures.kaplan_meier import kaplan_meier_curves
from pathray.report.figures.operating import precision_recall, roc
from pathray.report.figures.probabilities import probabilities
from pathray.report.figures.risks import risks
from pathray.report.figures.time_auc import time_auc
from pathray.report.figures.training import training
from pathray.report.page import page
from pathray.report.sheets import Sheet
from pathray.report.tilesheets import tile_sheets
from pathray.slides.reader import Pixels

OF_CLASSES = (roc, precision_recall, confusion, calibration, probabilities, forest, training)
OF_SURVIVAL = (kaplan_meier_curves, time_auc, forest, risks, training)
"""Figures in the order of the page."""


@dataclass(frozen=True)
class Report:
    """`html` is one page that needs no other file and no network; `json` has the same numbers."""

    html: bytes = field(repr=False)
    json: bytes = field(repr=False)
    figures: tuple[Figure, ...]

    def files(self) -> dict[str, bytes]:
        """By relative path: `report.html`, `report.json`, `figures/NAME.svg` and `.png`."""
        pictures = {
            f"figures/{figure.name}.{kind}": getattr(figure, kind)
            for figure in self.figures
            for kind in ("svg", "png")
        }
        return {"report.html": self.html, "report.json": self.json, **pictures}


def make_report(
    result: RunResult,
    sheets: Sequence[Sheet] = (),
    command: str = "",
    pictures: Mapping[str, Pixels] | None = None,
) -> Report:
    """The report of a run; the same bytes for equal input.

    `sheets` hold the tiles of `slides_to_show` where they can be read, `pictures` of a run over
    tiles those of `tiles_to_show`, by URI; `command` is how the run was started. The unit of time
    is `settings["time_unit"]`, the aggregator `settings["aggregator"]`.
    """
    kinds: Sequence[Callable[[RunResult], Figure]] = (
        OF_SURVIVAL if result.task == "survival" else OF_CLASSES
    )
    trained = any(fold.history for fold in result.folds)
    figures = tuple(draw(result) for draw in kinds if trained or draw is not training)
    told = content(result, list(figures), command)
    return Report(
        html=page(told, figures, sheets, tile_sheets(result, pictures) if pictures else []),
        json=json.dumps(told, ensure_ascii=False, allow_nan=False, indent=1).encode(),
        figures=figures,
    )
