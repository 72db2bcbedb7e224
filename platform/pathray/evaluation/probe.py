"""What frozen features are worth: nearest neighbours and a linear classifier on them.

Every tile is predicted by a model that saw no tile of its group (grouped, stratified folds),
and the score is the balanced accuracy of those predictions with a bootstrap over groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathray.errors import RequestError
from pathray.evaluation.bootstrap import Estimate, estimate
from pathray.evaluation.metrics import balanced_accuracy, confusion_matrices

NEIGHBOURS, TEMPERATURE = 20, 0.07
"""Weighted kNN of frozen features (Wu et al., CVPR 2018; DINO, arXiv 2104.14294)."""
FOLDS = 5

Floats = NDArray[np.float32]
Names = NDArray[np.str_]


def probe(features: Floats, labels: Names, groups: Names, seed: int = 0) -> dict[str, Estimate]:
    """Balanced accuracy of `knn` and `linear` on features (N, D), labels and groups (N,).

    RequestError when a label has too few groups to be on both sides of a split.
    """
    predicted = {name: np.empty_like(labels) for name in ("knn", "linear")}
    for train, test in grouped_folds(labels, groups, seed):
        known = features[train], labels[train]
        predicted["knn"][test] = knn(*known, features[test])
        predicted["linear"][test] = linear(*known, features[test])
    return {name: score(labels, said, groups, seed) for name, said in predicted.items()}


def grouped_folds(
    labels: Names, groups: Names, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices (train, test) of up to 5 folds that no group crosses."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(set(groups[labels == label])) for label in set(labels))
    if fewest < 2:
        raise RequestError("a probe needs at least two groups of tiles of each label")
    splitter = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels, groups))


def knn(known: Floats, labels: Names, asked: Floats) -> Names:
    """Labels of `asked` (M, D), those with the most `knn_votes`."""
    classes, votes = knn_votes(known, labels, asked)
    return classes[votes.argmax(axis=1)]


def knn_votes(
    known: Floats, labels: NDArray[Any], asked: Floats
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The labels there are (C,), and the votes (M, C) for each that `asked` (M, D) gets.

    The nearest of `known` (N, D) by cosine vote, the nearer the more: exp(cosine / 0.07).
    """
    similar = _unit(asked) @ _unit(known).T
    k = min(NEIGHBOURS, len(known))
    nearest = np.argpartition(-similar, k - 1, axis=1)[:, :k]
    weights = np.exp(np.take_along_axis(similar, nearest, axis=1) / TEMPERATURE)
    classes, codes = np.unique(labels, return_inverse=True)
    votes = np.zeros((len(asked), len(classes)))
    for code in range(len(classes)):
        votes[:, code] = (weights * (codes[nearest] == code)).sum(axis=1)
    return classes, votes


def linear(known: Floats, labels: Names, asked: Floats) -> Names:
    """Labels of `asked` by the `linear_model`."""
    return linear_model().fit(known, labels).predict(asked)


def linear_model() -> Any:
    """Logistic regression on standardised features, classes balanced; scikit-learn's estimator."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced")
    )


def score(labels: Names, predicted: Names, groups: Names, seed: int = 0) -> Estimate:
    """Mean recall of the labels; the interval draws groups, not tiles."""
    classes, true = np.unique(labels, return_inverse=True)
    said = np.searchsorted(classes, predicted)
    tested = _Tested(groups.tolist(), true, np.eye(len(classes))[said])
    return estimate([tested], seed)["balanced_accuracy"]


@dataclass(frozen=True)
class _Tested:
    """Tiles with the label they have and, one-hot, the one they were given."""

    patients: Sequence[str]
    """Who is drawn by the bootstrap: groups."""
    labels: NDArray[np.int64]
    predicted: NDArray[np.float64]

    def scores(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.floating]]:
        confusion = confusion_matrices(self.labels, self.predicted, weights)
        return {"balanced_accuracy": balanced_accuracy(confusion)}


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
