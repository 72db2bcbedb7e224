"""All that the page says, as plain numbers and sentences: the JSON twin of the report."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pathray.finetuning.result import FoldRecord, RunResult
from pathray.report.caveats import caveats
from pathray.report.figure import Figure
from pathray.report.headline import headline, meaning
from pathray.report.predictions import (
    PredictedClass,
    predicted_classes,
    predicted_risks,
    worst_classes,
    worst_risks,
)
from pathray.report.protocol import method, question, time_unit, title
from pathray.report.tilesheets import tile_root
from pathray.report.wording import main_measure, owner

FORMAT = 1


def content(result: RunResult, figures: list[Figure], command: str) -> dict[str, Any]:
    """Plain dicts, lists, numbers, strings and None; curves under `figures` by name."""
    return {
        "format": FORMAT,
        "target": result.target,
        "task": result.task,
        "classes": list(result.classes),
        "level": result.level,
        "owner": owner(result.level),
        "title": title(result),
        "time_unit": time_unit(result) or None,
        "question": question(result),
        "method": method(result),
        "headline": headline(result),
        "meaning": meaning(result),
        "main_measure": main_measure(result.task),
        "caveats": caveats(result),
        "cohort": result.cohort.model_dump(mode="json"),
        "evaluation": result.evaluation.to_dict(),
        "folds": [_fold(fold) for fold in result.folds],
        **_predictions(result),
        "figures": {figure.name: dict(figure.data) for figure in figures},
        "provenance": {
            "command": command or None,
            "seed": result.evaluation.seed,
            "version": result.version,
            "time": result.time,
            "seconds": result.seconds,
            "tiles": tile_root(result) if result.level == "tile" else None,
            "cohort_digest": result.cohort.digest,
            "embeddings": result.embeddings,
            "settings": result.settings,
        },
    }


def _fold(fold: FoldRecord) -> dict[str, Any]:
    parts = {part: len(getattr(fold.fold, part)) for part in ("train", "validation", "test")}
    return {
        "fold": fold.fold.name,
        "repeat": fold.fold.repeat,
        **parts,
        "training_bags": fold.training_bags,
        "epochs": len(fold.history),
        "best_epoch": fold.best_epoch,
        "seconds": fold.seconds,
        "digest": fold.digest,
    }


def _predictions(result: RunResult) -> dict[str, Any]:
    if result.task == "survival":
        risks = predicted_risks(result)
        return {
            "predictions": [asdict(row) for row in risks],
            "errors": [asdict(row) for row in worst_risks(risks)],
        }
    rows = predicted_classes(result)
    root = tile_root(result) if result.level == "tile" else ""
    return {
        "predictions": _class_rows(rows, root),
        "errors": _class_rows(worst_classes(rows), root),
    }


def _class_rows(rows: Sequence[PredictedClass], root: str) -> list[dict[str, Any]]:
    """As plain dicts; tiles, and groups that are tiles, are named below their folder."""
    return [
        asdict(row) | {"bag": row.bag.removeprefix(root), "patient": row.patient.removeprefix(root)}
        for row in rows
    ]
