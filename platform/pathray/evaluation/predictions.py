"""Test predictions with their truth: what metrics are computed from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pathray.evaluation.folds import Fold
from pathray.evaluation.labels import Labels
from pathray.survival.followup import FollowUp

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class ClassPredictions:
    """One fold's tested bags: probabilities (n, C) beside the true labels.

    `bags` are slide ids, or patient ids where a bag is a patient.
    """

    fold: Fold
    bags: tuple[str, ...]
    patients: tuple[str, ...]
    labels: Labels
    probabilities: Floats

    def by_patient(self) -> "ClassPredictions":
        """One row a patient: the mean probabilities of the patient's bags."""
        names, first, means = patient_means(self.patients, self.probabilities)
        return replace(
            self, bags=names, patients=names, labels=self.labels.take(first), probabilities=means
        )


@dataclass(frozen=True)
class RiskPredictions:
    """One fold's tested bags: risks (n,), higher dies sooner, beside the true follow-up."""

    fold: Fold
    bags: tuple[str, ...]
    patients: tuple[str, ...]
    follow_up: FollowUp
    risk: Floats

    def by_patient(self) -> "RiskPredictions":
        """One row a patient: the mean risk of the patient's bags."""
        names, first, means = patient_means(self.patients, self.risk)
        return replace(
            self, bags=names, patients=names, follow_up=self.follow_up.take(first), risk=means
        )


def patient_means(
    patients: Sequence[str], values: Floats
) -> tuple[tuple[str, ...], NDArray[np.intp], Floats]:
    """Sorted patients, the first row of each, and the mean of each one's rows (n, ...)."""
    names, first, row, count = np.unique(
        list(patients), return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, row, values)
    means = sums / count.reshape(-1, *[1] * (values.ndim - 1))
    return tuple(names.tolist()), first, means
