"""Dealing groups of patients into parts so that every part looks like the whole."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ATTEMPTS = 100
"""Orders in which whole sites are dealt, the best kept: a few large ones leave little choice."""


def deal(
    counts: NDArray[np.int64], shares: Sequence[float], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The part (g,) each group goes to.

    counts (g, s): patients of each stratum in each group, a group being one patient or one
    site; shares (p,) of the whole that each part should hold, summing to 1.

    Greedy: each group goes where the strata it brings are missing most. Groups of one patient
    come out within one patient of every stratum's share, and a stratum with a patient for each
    part leaves no part without. Whole sites come as near as the best of many orders brings
    them.
    """
    targets = _targets(counts.sum(axis=0), np.asarray(shares))
    sizes, mostly = counts.sum(axis=1), counts.argmax(axis=1)
    shuffled = rng.permutation(len(counts))
    # The largest first; then one stratum after the other, so that parts which drew a patient
    # more of one draw one less of the next.
    orders = [shuffled[np.lexsort((mostly[shuffled], -sizes[shuffled]))]]
    if (sizes > 1).any():
        orders += [rng.permutation(len(counts)) for _ in range(ATTEMPTS - 1)]
    dealt = [_greedy(counts, targets, order, rng) for order in orders]
    return min(dealt, key=lambda parts: _misfit(counts, targets, parts))


def _targets(totals: NDArray[np.int64], shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Patients (p, s) aimed at: the shares, but one where a stratum can afford it."""
    targets = shares[:, None] * totals
    affordable = totals >= len(shares)
    raised = np.where(affordable, np.maximum(targets, 1.0), targets)
    raised[np.argmax(shares)] -= raised.sum(axis=0) - totals
    return raised


def _greedy(
    counts: NDArray[np.int64],
    targets: NDArray[np.float64],
    order: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    held = np.zeros_like(targets)
    parts = np.zeros(len(counts), np.int64)
    for group in order:
        change = (held + counts[group] - targets) ** 2 - (held - targets) ** 2
        # Rounded, so that what is equal but for the last digit is a tie; ties go to the part
        # that misses most patients of any stratum.
        cost = np.round((change / _scale(targets)).sum(axis=1), 9)
        excess = held.sum(axis=1) - targets.sum(axis=1)
        parts[group] = np.lexsort((rng.random(len(targets)), excess, cost))[0]
        held[parts[group]] += counts[group]
    return parts


def _misfit(
    counts: NDArray[np.int64], targets: NDArray[np.float64], parts: NDArray[np.int64]
) -> tuple[int, float]:
    """Strata that some part lacks, then the squared distance from the targets."""
    held = np.zeros_like(targets)
    np.add.at(held, parts, counts)
    return int((held == 0).sum()), float(((held - targets) ** 2 / _scale(targets)).sum())


def _scale(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Patients (s,) of each stratum, so that rare strata matter as much as common ones."""
    return np.maximum(targets.sum(axis=0), 1.0)
