"""Opening the tests: the truth beside the predictions of every fold, and what it says."""

from collections.abc import Sequence

import numpy as np

from pathray.evaluation.classification import evaluate_classes
from pathray.evaluation.predictions import ClassPredictions, RiskPredictions, patient_means
from pathray.evaluation.results import Evaluation
from pathray.evaluation.sealed import SealedTest
from pathray.evaluation.survival import evaluate_survival
from pathray.finetuning.result import ClassRows, FoldOutcome, FoldRecord, SurvivalRows, rows_of


def open_test(outcome: FoldOutcome, sealed: SealedTest) -> FoldRecord:
    """A fold's outcome with the truth of its test, which is told once (RuntimeError after)."""
    if outcome.survival is None:
        told = sealed.open({k: np.array(v) for k, v in outcome.predictions.items()})
        assert isinstance(told, ClassPredictions)
        test: ClassRows | SurvivalRows = _class_rows(told)
    else:
        opened = sealed.open({bag: risk for bag, (risk,) in outcome.predictions.items()})
        assert isinstance(opened, RiskPredictions)
        test = _survival_rows(opened, outcome)
    kept = outcome.model_dump(exclude={"fold", "predictions", "curves"})
    return FoldRecord(**kept, fold=sealed.fold, test=test)


def _class_rows(told: ClassPredictions) -> ClassRows:
    return ClassRows(
        bags=told.bags,
        patients=told.patients,
        labels=tuple(told.labels.values.tolist()),
        probabilities=rows_of(told.probabilities),
    )


def _survival_rows(told: RiskPredictions, outcome: FoldOutcome) -> SurvivalRows:
    curves = np.array([outcome.curves[bag] for bag in told.bags], np.float64)
    survival = patient_means(told.patients, curves)[2]
    told = told.by_patient()
    return SurvivalRows(
        patients=told.patients,
        time=tuple(told.follow_up.time.tolist()),
        event=tuple(told.follow_up.event.tolist()),
        risk=tuple(told.risk.tolist()),
        survival=rows_of(survival),
    )


def judge(records: Sequence[FoldRecord], classes: tuple[str, ...], seed: int) -> Evaluation:
    """All measures of all folds; of slides with patients resampled, of survival by patient."""
    if classes:
        return evaluate_classes([record.tested_classes(classes) for record in records], seed)
    return evaluate_survival([record.tested_survival() for record in records], seed)
