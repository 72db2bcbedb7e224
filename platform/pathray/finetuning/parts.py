"""The bags of one part of a fold with their targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathray.clinical.cohort import ClinicalCohort
from pathray.evaluation.sealed import Level
from pathray.finetuning.task import Target
from pathray.mil.bags import Bags


@dataclass(frozen=True)
class Part:
    """n bags: which of all bags (n,), their ids, their patients, their targets."""

    bags: NDArray[np.int64]
    ids: tuple[str, ...]
    patients: tuple[str, ...]
    target: Target

    def __len__(self) -> int:
        return len(self.bags)


def part_of(bags: Bags, cohort: ClinicalCohort, level: Level) -> Part:
    """The bags of a cohort. KeyError when one has no tiles: those are left out before folds."""
    rows = cohort.one_row_a_patient() if level == "patient" else cohort
    ids = rows.patient_ids if level == "patient" else rows.slide_ids
    return Part(places(bags, ids), ids, rows.patient_ids, rows.target)


def places(bags: Bags, ids: tuple[str, ...]) -> NDArray[np.int64]:
    """Where bags of these ids are among all."""
    index = {bag: place for place, bag in enumerate(bags.ids)}
    return np.array([index[bag] for bag in ids], np.int64)


def owners_of(cohort: Any, level: Level) -> Mapping[str, str]:
    """The bag of each slide of anything with `slide_ids` and `patient_ids`."""
    bags = cohort.patient_ids if level == "patient" else cohort.slide_ids
    return dict(zip(cohort.slide_ids, bags, strict=True))
