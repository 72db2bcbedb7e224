"""Tested slides or patients with what was said of them, one row each, and the worst errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathray.finetuning.result import RunResult

WORST = 10
"""Errors listed."""


@dataclass(frozen=True)
class PredictedClass:
    """A bag's mean probabilities (C,) over the folds that tested it, in the order of classes."""

    bag: str
    patient: str
    truth: str
    predicted: str
    probabilities: tuple[float, ...]
    tested: int

    @property
    def right(self) -> bool:
        """Whether the most probable class is the true one."""
        return self.truth == self.predicted

    @property
    def confidence(self) -> float:
        """The probability of the most probable class."""
        return max(self.probabilities)


@dataclass(frozen=True)
class PredictedRisk:
    """A patient's risk above the cut of its fold, the mean over the folds that tested it.

    `high_share` is the share of those folds in which it was above the cut, `group` where it was
    at least half of the times.
    """

    patient: str
    time: float
    event: bool
    above_cut: float
    high_share: float
    group: str
    tested: int


def predicted_classes(result: RunResult) -> list[PredictedClass]:
    """Sorted by bag."""
    rows: dict[str, list[tuple[str, int, Any]]] = {}
    for fold in result.folds:
        one = fold.tested_classes(result.classes)
        labels = one.labels.values.tolist()
        for bag, *row in zip(one.bags, one.patients, labels, one.probabilities, strict=True):
            rows.setdefault(bag, []).append(tuple(row))
    return [_class_row(bag, rows[bag], result.classes) for bag in sorted(rows)]


def _class_row(bag: str, told: Sequence[Any], classes: Sequence[str]) -> PredictedClass:
    patient, label, _ = told[0]
    mean = np.mean([probabilities for *_, probabilities in told], axis=0)
    return PredictedClass(
        bag=bag,
        patient=patient,
        truth=classes[label],
        predicted=classes[int(mean.argmax())],
        probabilities=tuple(float(p) for p in mean),
        tested=len(told),
    )


def predicted_risks(result: RunResult) -> list[PredictedRisk]:
    """Sorted by patient."""
    rows: dict[str, list[tuple[float, bool, float]]] = {}
    for fold in result.folds:
        test = fold.tested_survival()
        one = test.predictions
        above = (one.risk - test.cut).tolist()
        times, events = one.follow_up.time.tolist(), one.follow_up.event.tolist()
        for patient, *row in zip(one.patients, times, events, above, strict=True):
            rows.setdefault(patient, []).append((row[0], row[1], row[2]))
    return [_risk_row(patient, rows[patient]) for patient in sorted(rows)]


def _risk_row(patient: str, told: Sequence[tuple[float, bool, float]]) -> PredictedRisk:
    time, event, _ = told[0]
    above = np.array([each for *_, each in told])
    share = float((above > 0).mean())
    group = "high" if share >= 0.5 else "low"
    return PredictedRisk(patient, time, event, float(above.mean()), share, group, len(told))


def worst_classes(rows: Sequence[PredictedClass]) -> list[PredictedClass]:
    """The wrong predictions that were surest, the surest first."""
    wrong = [row for row in rows if not row.right]
    return sorted(wrong, key=lambda row: (-row.confidence, row.bag))[:WORST]


def worst_risks(rows: Sequence[PredictedRisk]) -> list[PredictedRisk]:
    """The earliest events of low risk, then the longest followed of high risk without one."""
    missed = sorted((r for r in rows if r.event and r.group == "low"), key=lambda r: r.time)
    alarms = sorted((r for r in rows if not r.event and r.group == "high"), key=lambda r: -r.time)
    return missed[: WORST // 2] + alarms[: WORST // 2]
