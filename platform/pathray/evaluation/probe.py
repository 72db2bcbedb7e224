"""What frozen features are worth: nearest neighbours and a linear classifier on them.

Every tile is predicted by a model that saw no tile of its group (grouped, stratified folds),
and the score is the balanced accuracy of those predictions with a bootstrap over groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.errors import RequestError

NEIGHBOURS, TEMPERATURE = 20, 0.07
"""Weighted kNN of frozen features (Wu et al., CVPR 2018; DINO, arXiv 2104.14294)."""
FOLDS = 5
RESAMPLES = 1000
LEVEL = 0.95

Floats = NDArray[np.float32]
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Score:
    """A figure in 0..1 with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}..{self.high:.3f})"


def probe(features: Floats, labels: Names, groups: Names, seed: int = 0) -> dict[str, Score]:
    """Balanced accuracy of `knn` and `linear` on features (N, D), labels and groups (N,).

    RequestError when a label has too few groups to be on both sides of a split.
    """
    predicted = {name: np.empty_like(labels) for name in ("knn", "linear")}
    for train, test in grouped_folds(labels, groups, seed):
        known = features[train], labels[train]
        predicted["knn"][test] = knn(*known, features[test])
        predicted["linear"][test] = linear(*known, features[test])
    return {name: balanced_accuracy(labels, said, groups, seed) for name, said in predicted.items()}


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
    """Labels of `asked` (M, D): the nearest of `known` (N, D) by cosine vote, the nearer the more.

    A vote weighs exp(cosine / 0.07).
    """
    similar = _unit(asked) @ _unit(known).T
    k = min(NEIGHBOURS, len(known))
    nearest = np.argpartition(-similar, k - 1, axis=1)[:, :k]
    weights = np.exp(np.take_along_axis(similar, nearest, axis=1) / TEMPERATURE)
    classes, codes = np.unique(labels, return_inverse=True)
    votes = np.zeros((len(asked), len(classes)))
    for code in range(len(classes)):
        votes[:, code] = (weights * (codes[nearest] == code)).sum(axis=1)
    return classes[votes.argmax(axis=1)]


def linear(known: Floats, labels: Names, asked: Floats) -> Names:
    """Labels of `asked` by logistic regression on standardised features, classes balanced."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced")
    )
    return model.fit(known, labels).predict(asked)


def balanced_accuracy(labels: Names, predicted: Names, groups: Names, seed: int = 0) -> Score:
    """Mean recall of the labels; the interval resamples groups, not tiles."""
    classes, true = np.unique(labels, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    # Of every group and label: how many tiles, how many of them right.
    tiles = np.zeros((group.max() + 1, len(classes)))
    right = np.zeros_like(tiles)
    np.add.at(tiles, (group, true), 1)
    np.add.at(right, (group, true), labels == predicted)
    value = float((right.sum(0) / tiles.sum(0)).mean())
    draws = np.random.default_rng(seed).multinomial(
        len(tiles), np.full(len(tiles), 1 / len(tiles)), size=RESAMPLES
    )
    drawn = draws @ tiles
    # A resample that lost a label has no recall of it.
    recall = np.divide(draws @ right, drawn, out=np.full_like(drawn, np.nan), where=drawn > 0)
    edges = np.quantile(np.nanmean(recall, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(value, float(edges[0]), float(edges[1]))


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
