"""The area under the ROC curve, for cases and controls of any weight."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def tied_sums(score: Floats, weights: Floats) -> Floats:
    """Weights (B, n) summed over equal scores (n,): (B, distinct scores), ascending."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)
    return np.add.reduceat(weights[:, order], starts, axis=1)


def weighted_auc(score: Floats, cases: Floats, controls: Floats) -> NDArray[np.float64]:
    """The chance (B,) that a case has a higher score than a control; ties count half.

    score (n,); cases and controls (B, n): the weights with which each row is a case and a
    control. nan where there are no cases or no controls.
    """
    case, control = tied_sums(score, cases), tied_sums(score, controls)
    below = np.cumsum(control, axis=1) - control / 2
    total = case.sum(axis=1) * control.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (case * below).sum(axis=1) / total, np.nan)
