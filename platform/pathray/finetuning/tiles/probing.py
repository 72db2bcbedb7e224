"""A fold of a probe: frozen vectors, nearest neighbours or a linear classifier on them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathray.clinical.cohort import ClinicalCohort
from pathray.evaluation.labels import Labels
from pathray.evaluation.probe import knn_votes, linear_model
from pathray.evaluation.sealed import Development
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.result import ClassRows, FoldOutcome
from pathray.tilemodel import TileHead

Method = Literal["knn", "linear"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ProbedFold:
    """What a fold answers, and its model; nearest neighbours have none."""

    outcome: FoldOutcome
    head: TileHead | None


def probe_fold(
    vectors: Mapping[str, Floats], development: Development, tested: Unlabelled, method: Method
) -> ProbedFold:
    """Learn from the training tiles, answer for validation and test. `vectors`: by tile, (D,).

    Nothing is steered: the probes' numbers are fixed (`pathray.evaluation.probe`), so the
    validation tiles only show what to expect of the test.
    """
    started = time.perf_counter()
    train, validation = development.train, development.validation
    assert isinstance(train.target, Labels)
    known, labels = _stacked(vectors, train.slide_ids), train.target.values
    asked = _stacked(vectors, (*validation.slide_ids, *tested.slide_ids))
    classes = len(train.target.classes)
    head = fit_head(known, labels, classes) if method == "linear" else None
    told = head.probabilities(asked) if head else _neighbours(known, labels, asked, classes)
    steering, answers = told[: len(validation)], told[len(validation) :]
    outcome = FoldOutcome(
        fold=development.fold.name,
        training_bags=len(train),
        history=(),
        best_epoch=0,
        validation=class_rows(validation, steering),
        predictions=dict(zip(tested.slide_ids, map(tuple, answers.tolist()), strict=True)),
        curves={},
        survival=None,
        attention=(),
        digest=head.digest if head else "",
        seconds=round(time.perf_counter() - started, 2),
    )
    return ProbedFold(outcome, head)


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


def fit_head(known: Floats, labels: NDArray[np.int64], classes: int) -> TileHead:
    """The `linear_model` of vectors (N, D), with the standardisation inside the layer.

    A class that no training tile has gets probability 0.
    """
    scaler, regression = (step for _, step in linear_model().fit(known, labels).steps)
    coefficients = regression.coef_.astype(np.float64) / scaler.scale_
    intercepts = regression.intercept_ - coefficients @ scaler.mean_
    if len(regression.classes_) == 2:  # told as the log odds of the second
        coefficients = np.stack([np.zeros_like(coefficients[0]), coefficients[0]])
        intercepts = np.array([0.0, intercepts[0]])
    weight, bias = np.zeros((classes, known.shape[1])), np.full(classes, -np.inf)
    weight[regression.classes_], bias[regression.classes_] = coefficients, intercepts
    return TileHead(weight, bias)


def _neighbours(
    known: Floats, labels: NDArray[np.int64], asked: Floats, classes: int
) -> NDArray[np.float64]:
    """(M, classes); a class that no training tile has gets 0."""
    told = np.zeros((len(asked), classes))
    present, votes = knn_votes(known, labels, asked)
    told[:, present] = votes / votes.sum(axis=1, keepdims=True)
    return told
