"""The cohort a model is made from: slides, their patients and what is to be predicted."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathray.evaluation.folds import Strata
from pathray.evaluation.labels import Labels
from pathray.survival.followup import FollowUp


@dataclass(frozen=True)
class ClinicalCohort:
    """One row a slide, sorted by slide_id; all slides of a patient have the same target."""

    slide_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    target: Labels | FollowUp

    def __len__(self) -> int:
        return len(self.slide_ids)

    def take(self, rows: NDArray[Any]) -> "ClinicalCohort":
        """Some rows, by index."""
        return ClinicalCohort(
            tuple(self.slide_ids[row] for row in rows),
            tuple(self.patient_ids[row] for row in rows),
            self.target.take(rows),
        )

    def of_patients(self, patients: Collection[str]) -> "ClinicalCohort":
        """All slides of some patients."""
        wanted = set(patients)
        return self.take(np.flatnonzero([patient in wanted for patient in self.patient_ids]))

    def one_row_a_patient(self) -> "ClinicalCohort":
        """The first slide of each patient, sorted by patient."""
        return self.take(np.unique(self.patient_ids, return_index=True)[1])

    def strata(self) -> Strata:
        """What folds are balanced for: the class, or whether the event was seen."""
        rows = self.one_row_a_patient()
        if isinstance(rows.target, Labels):
            return Strata(rows.patient_ids, rows.target.values, rows.target.classes)
        seen = rows.target.event.astype(np.int64)
        names = ("censored", "event")
        return Strata(rows.patient_ids, seen, names, dispensable=("censored",))
