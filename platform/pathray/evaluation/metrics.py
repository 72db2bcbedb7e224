"""Measures of a classifier, for many bootstrap resamples at once.

Every measure takes `weights` (B, n), how often each row counts in each of B resamples, and
gives (B,) values, nan where a resample leaves it undefined. With weights of one they are
scikit-learn's; written here because scikit-learn scores one resample at a time, and an
interval needs thousands.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.ranking import tied_sums, weighted_auc

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

CALIBRATION_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017."""


def class_scores(labels: Ints, probabilities: Floats, weights: Floats) -> dict[str, Floats]:
    """Every measure below of labels (n,) and probabilities (n, C), by name."""
    confusion = confusion_matrices(labels, probabilities, weights)
    return {
        "auc": auc(labels, probabilities, weights),
        "average_precision": average_precision(labels, probabilities, weights),
        "balanced_accuracy": balanced_accuracy(confusion),
        "f1": macro_f1(confusion),
        "brier": brier(labels, probabilities, weights),
        "ece": expected_calibration_error(labels, probabilities, weights),
    }


def auc(labels: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve: of the second of two classes, else the mean over each class
    against the rest."""
    return _one_against_rest(weighted_auc, labels, probabilities, weights)


def average_precision(labels: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """Area under the precision-recall curve, by steps; classes as for `auc`."""
    return _one_against_rest(_average_precision, labels, probabilities, weights)


def confusion_matrices(labels: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """Counts (B, C, C): true class by predicted class, the most probable one."""
    classes = probabilities.shape[1]
    cell = labels * classes + probabilities.argmax(axis=1)
    return (weights @ np.eye(classes**2)[cell]).reshape(-1, classes, classes)


def balanced_accuracy(confusion: Floats) -> Floats:
    """Mean recall of the classes that are there, from confusion matrices (B, C, C)."""
    return _mean_ratio(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))


def macro_f1(confusion: Floats) -> Floats:
    """Mean F1 of the classes that are there or predicted, from confusion matrices (B, C, C)."""
    both = confusion.sum(axis=1) + confusion.sum(axis=2)
    return _mean_ratio(2 * np.diagonal(confusion, axis1=1, axis2=2), both)


def brier(labels: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """Mean squared error of the probabilities: 0..1 for two classes, 0..2 for more."""
    classes = probabilities.shape[1]
    errors = ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1)
    return _ratio(weights @ (errors / 2 if classes == 2 else errors), weights.sum(axis=1))


def expected_calibration_error(labels: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """|accuracy - confidence| over the bins of `reliability`, weighted by their rows."""
    confidence, correct, members = _binned(labels, probabilities)
    gaps = weights @ ((correct - confidence)[:, None] * members)
    return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


@dataclass(frozen=True)
class Reliability:
    """A calibration plot's bins (15,): mean confidence and accuracy, nan where empty; rows."""

    confidence: Floats
    accuracy: Floats
    count: Floats


def reliability(labels: Ints, probabilities: Floats) -> Reliability:
    """Rows by the probability of their most probable class, in bins (0, 1/15], (1/15, 2/15], …"""
    confidence, correct, members = _binned(labels, probabilities)
    count = members.sum(axis=0)
    return Reliability(_ratio(confidence @ members, count), _ratio(correct @ members, count), count)


def _binned(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats, Floats]:
    """Confidence (n,), 1 where correct (n,), membership of the bins (n, 15)."""
    confidence = probabilities.max(axis=1)
    correct = (probabilities.argmax(axis=1) == labels).astype(float)
    number = np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1
    return confidence, correct, np.eye(CALIBRATION_BINS)[number.clip(0, CALIBRATION_BINS - 1)]


def _one_against_rest(
    measure: Callable[[Floats, Floats, Floats], Floats],
    labels: Ints,
    probabilities: Floats,
    weights: Floats,
) -> Floats:
    count = probabilities.shape[1]
    each = [
        measure(probabilities[:, k], weights * (labels == k), weights * (labels != k))
        for k in ([1] if count == 2 else range(count))
    ]
    return np.mean(each, axis=0)


def _average_precision(score: Floats, cases: Floats, controls: Floats) -> Floats:
    """Sum over thresholds, from the highest score down, of recall gained times precision."""
    case = tied_sums(score, cases)[:, ::-1]
    control = tied_sums(score, controls)[:, ::-1]
    found = np.cumsum(case, axis=1)
    called = found + np.cumsum(control, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _ratio((case * precision).sum(axis=1), case.sum(axis=1))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)


def _mean_ratio(above: Floats, below: Floats) -> Floats:
    """Mean (B,) over the classes (B, C) for which the ratio exists."""
    terms = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return _ratio(terms.sum(axis=1), (below > 0).sum(axis=1).astype(float))
