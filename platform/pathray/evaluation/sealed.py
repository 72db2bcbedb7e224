"""The sealed test: a fold's test labels, told once and only in return for predictions.

`seal` divides a cohort. What trains a model is given the `Development` part, which holds no
test label; the `SealedTest` stays behind. It says which bags to predict, cannot be pickled
(so no worker ever receives one), and `open` takes a prediction for every bag before it tells
the truth, the first time and never again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from pathray.clinical.cohort import ClinicalCohort
from pathray.errors import RequestError, some
from pathray.evaluation.folds import Fold
from pathray.evaluation.labels import Labels
from pathray.evaluation.predictions import ClassPredictions, RiskPredictions

Level = Literal["slide", "patient"]


@dataclass(frozen=True)
class Development:
    """What a model may be made from: slides with their targets, to train on and to steer by."""

    fold: Fold
    train: ClinicalCohort
    validation: ClinicalCohort


class SealedTest:
    """Test bags of a fold, whose truth is shut away.

    `bags` are what to predict: slide ids, or patient ids where a bag is a patient; `patients`
    says whose each is.
    """

    def __init__(self, fold: Fold, test: ClinicalCohort, level: Level) -> None:
        test = test.one_row_a_patient() if level == "patient" else test
        self.fold = fold
        self.bags = test.patient_ids if level == "patient" else test.slide_ids
        self.patients = test.patient_ids
        self.__truth = [test.target]

    def open(
        self, predictions: Mapping[str, NDArray[np.floating] | float]
    ) -> ClassPredictions | RiskPredictions:
        """The truth beside a prediction for every bag: probabilities (C,), or a risk.

        Raises RequestError, and stays shut, when a bag has no prediction, a prediction is for
        no bag of this test, or is not finite. Raises RuntimeError when it was open before.
        """
        values = self._checked(predictions)
        if not self.__truth:
            raise RuntimeError(f"the test of fold {self.fold.name} was opened before")
        truth = self.__truth.pop()
        if isinstance(truth, Labels):
            return ClassPredictions(self.fold, self.bags, self.patients, truth, values)
        return RiskPredictions(self.fold, self.bags, self.patients, truth, values)

    def _checked(
        self, predictions: Mapping[str, NDArray[np.floating] | float]
    ) -> NDArray[np.float64]:
        missing = [bag for bag in self.bags if bag not in predictions]
        strange = sorted(set(predictions) - set(self.bags))
        if missing or strange:
            problem = "no prediction for" if missing else "predictions for bags not in this test:"
            raise RequestError(f"fold {self.fold.name}: {problem} {some(missing or strange)}")
        values = np.array([predictions[bag] for bag in self.bags], np.float64)
        wild = [self.bags[row] for row in np.unique(np.nonzero(~np.isfinite(values))[0])]
        if wild:
            raise RequestError(f"fold {self.fold.name}: not a finite prediction for {some(wild)}")
        return values

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealed test does not travel: send its `bags` to whoever predicts")


def seal(
    cohort: ClinicalCohort, fold: Fold, level: Level = "slide"
) -> tuple[Development, SealedTest]:
    """Divide a cohort by a fold. `level` says what a bag is: a slide, or a patient."""
    train, validation, test = (
        cohort.of_patients(part) for part in (fold.train, fold.validation, fold.test)
    )
    return Development(fold, train, validation), SealedTest(fold, test, level)
