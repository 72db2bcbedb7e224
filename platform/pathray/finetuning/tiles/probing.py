"""A fold of a probe: frozen vectors, nearest neighbours or a linear classifier on them."""

import time
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathray.clinical.cohort import ClinicalCohort
from pathray.evaluation.labels import Labels
from pathray.evaluation.probe import knn_votes, linear_model
from pathray.evaluation.sealed import Development
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.result import ClassRows, FoldOutcome

Method = Literal["knn", "linear"]
Floats = NDArray[np.float32]


def probe_fold(
    vectors: Mapping[str, Floats], development: Development, tested: Unlabelled, method: Method
) -> FoldOutcome:
    """Learn from the training tiles, answer for validation and test. `vectors`: by tile, (D,).

    Nothing is steered: the probes' numbers are fixed (`pathray.evaluation.probe`), so the
    validation tiles only show what to expect of the test.
    """
    started = time.perf_counter()
    train, validation = development.train, development.validation
    assert isinstance(train.target, Labels)
    known, labels = _stacked(vectors, train.slide_ids), train.target.values
    asked = _stacked(vectors, (*validation.slide_ids, *tested.slide_ids))
    told = _probabilities(known, labels, asked, len(train.target.classes), method)
    steering, answers = told[: len(validation)], told[len(validation) :]
    return FoldOutcome(
        fold=development.fold.name,
        training_bags=len(train),
        history=(),
        best_epoch=0,
        validation=class_rows(validation, steering),
        predictions=dict(zip(tested.slide_ids, map(tuple, answers.tolist()), strict=True)),
        curves={},
        survival=None,
        attention=(),
        digest="",
        seconds=round(time.perf_counter() - started, 2),
    )


def class_rows(cohort: ClinicalCohort, probabilities: NDArray[np.floating]) -> ClassRows:
    """Tiles of a part with what was said of them."""
    assert isinstance(cohort.target, Labels)
    return ClassRows(
        bags=cohort.slide_ids,
        patients=cohort.patient_ids,
        labels=tuple(cohort.target.values.tolist()),
        probabilities=tuple(map(tuple, probabilities.tolist())),
    )


def _stacked(vectors: Mapping[str, Floats], tiles: tuple[str, ...]) -> Floats:
    return np.stack([vectors[tile] for tile in tiles])


def _probabilities(
    known: Floats, labels: NDArray[np.int64], asked: Floats, classes: int, method: Method
) -> NDArray[np.float64]:
    """(M, classes); a class that no training tile has gets 0."""
    told = np.zeros((len(asked), classes))
    if method == "knn":
        present, votes = knn_votes(known, labels, asked)
        told[:, present] = votes / votes.sum(axis=1, keepdims=True)
    else:
        model = linear_model().fit(known, labels)
        told[:, model.classes_] = model.predict_proba(asked)
    return told
