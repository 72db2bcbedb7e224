"""In which order an epoch shows its bags."""

import numpy as np
from numpy.typing import NDArray

from pathray.evaluation.labels import Labels
from pathray.finetuning.task import Target

Rows = NDArray[np.int64]


def epoch_batches(target: Target, size: int, balance: bool, rng: np.random.Generator) -> list[Rows]:
    """Batches of at most `size` rows of the target.

    Balanced classes: as many draws as there are bags, with replacement, each class equally
    likely, as CLAM samples. Otherwise every bag once; of follow-up, events are dealt evenly,
    because a Cox batch without an event teaches nothing.
    """
    if isinstance(target, Labels):
        order = _balanced(target.values, rng) if balance else rng.permutation(len(target))
    else:
        order = _evenly(target.event, rng)
    return np.array_split(order, -(-len(order) // size))


def _balanced(labels: Rows, rng: np.random.Generator) -> Rows:
    weights = 1 / np.bincount(labels)[labels]
    return rng.choice(len(labels), len(labels), p=weights / weights.sum())


def _evenly(stratum: NDArray[np.bool_], rng: np.random.Generator) -> Rows:
    """A random order in which any stretch holds its share of both strata."""
    place = np.empty(len(stratum))
    for kind in (False, True):
        rows = rng.permutation(np.flatnonzero(stratum == kind))
        place[rows] = (np.arange(len(rows)) + rng.random(len(rows))) / max(len(rows), 1)
    return np.argsort(place)
