"""Harrell's C-index, as lifelines defines it.

A pair is comparable when the one who left first had an event; of two who left at the same
time, when exactly one had. It is concordant when that one has the higher risk; equal risks
count half. Written here, not taken from lifelines, to count many bootstrap resamples in one
matrix product and to count pairs within folds only.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pathray.survival.followup import FollowUp

_BLOCK = 4_000_000
"""Pairs looked at at once: bounds the memory of large cohorts."""

Counts = NDArray[np.float64]


def weighted_pairs(
    follow_up: FollowUp, risk: NDArray[np.floating], weights: NDArray[np.floating]
) -> tuple[Counts, Counts]:
    """Concordant and comparable pairs, (B,) each, when patients count several times.

    risk (n,), higher dies sooner; weights (B, n): how often each patient is in each of B
    resamples. Raises ValueError when a risk is not a number.
    """
    if np.isnan(risk).any():
        raise ValueError("a risk is not a number")
    concordant, comparable = np.zeros(len(weights)), np.zeros(len(weights))
    # Whole counts below 2**24, so that float32 holds them exactly.
    weights = weights.astype(np.float32)
    first = np.flatnonzero(follow_up.event)
    rows = max(1, _BLOCK // max(len(follow_up), 1))
    for block in (first[i : i + rows] for i in range(0, len(first), rows)):
        pairs, agreeing = _pairs(follow_up, risk, block)
        comparable += _sum(weights, block, pairs)
        concordant += _sum(weights, block, agreeing)
    return concordant, comparable


def _pairs(
    follow_up: FollowUp, risk: NDArray[np.floating], block: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For events `block`, against everyone: comparable (0, 1), concordant (0, 0.5, 1)."""
    time, event = follow_up.time, follow_up.event
    own = time[block, None]
    pairs = ((own < time) | ((own == time) & ~event)).astype(np.float32)
    higher, equal = risk[block, None] > risk, risk[block, None] == risk
    return pairs, pairs * (higher + np.float32(0.5) * equal)


def _sum(
    weights: NDArray[np.float32], block: NDArray[np.intp], pairs: NDArray[np.float32]
) -> Counts:
    return np.einsum("bn,bn->b", weights[:, block] @ pairs, weights, dtype=np.float64)


def concordance_index(follow_up: FollowUp, risk: NDArray[np.floating]) -> float:
    """The C-index of risks (n,), higher dies sooner; nan when no pair can be compared."""
    return concordance_within([(follow_up, risk)])


def concordance_within(folds: Iterable[tuple[FollowUp, NDArray[np.floating]]]) -> float:
    """The C-index over several folds: pairs are counted within each fold, then summed.

    Risks of different folds come from different models and are not comparable.
    """
    concordant = comparable = 0.0
    for follow_up, risk in folds:
        mine, all_mine = weighted_pairs(follow_up, risk, np.ones((1, len(follow_up))))
        concordant, comparable = concordant + mine[0], comparable + all_mine[0]
    return concordant / comparable if comparable else float("nan")
