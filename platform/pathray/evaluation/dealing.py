"""Dealing groups of patients into parts so that every part looks like the whole."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def deal(
    counts: NDArray[np.int64], shares: Sequence[float], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The part (g,) each group goes to.

    counts (g, s): patients of each stratum in each group, a group being one patient or one
    site; shares (p,) of the whole that each part should hold, summing to 1.

    Greedy, the largest group first: each goes where the strata it brings are missing most.
    Groups of one patient come out within one patient of every stratum's share, and a stratum
    with a patient for each part leaves no part without. Whole sites come as close as their
    sizes let them.
    """
    targets = _targets(counts.sum(axis=0), np.asarray(shares))
    held = np.zeros_like(targets)
    parts = np.zeros(len(counts), np.int64)
    shuffled = rng.permutation(len(counts))
    sizes, mostly = counts.sum(axis=1), counts.argmax(axis=1)
    # One stratum after the other, so that parts which drew a patient more of one draw one
    # less of the next.
    order = np.lexsort((mostly[shuffled], -sizes[shuffled]))
    for group in shuffled[order]:
        cost = _cost(held, targets, counts[group])
        whole = held.sum(axis=1) - targets.sum(axis=1)
        parts[group] = np.lexsort((rng.random(len(shares)), whole, cost))[0]
        held[parts[group]] += counts[group]
    return parts


def _targets(totals: NDArray[np.int64], shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Patients (p, s) aimed at: the shares, but one where a stratum can afford it."""
    targets = shares[:, None] * totals
    affordable = totals >= len(shares)
    raised = np.where(affordable, np.maximum(targets, 1.0), targets)
    largest = int(np.argmax(shares))
    raised[largest] -= raised.sum(axis=0) - totals
    return raised


def _cost(
    held: NDArray[np.float64], targets: NDArray[np.float64], group: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How much further from its targets each part (p,) would be with this group."""
    scale = np.maximum(targets.sum(axis=0), 1.0)
    change = (held + group - targets) ** 2 - (held - targets) ** 2
    # Rounded, so that what is equal but for the last digit is a tie.
    return np.round((change / scale).sum(axis=1), 9)
