"""Brier score of survival curves, weighted against censoring."""

import numpy as np
from numpy.typing import NDArray

from pathray.survival.auc import inverse_weights
from pathray.survival.censoring import CensoringCurve
from pathray.survival.followup import FollowUp

Floats = NDArray[np.floating]


def squared_errors(
    follow_up: FollowUp, survival: Floats, times: Floats, censoring: CensoringCurve
) -> NDArray[np.float64]:
    """Weighted squared error (n, T) of each patient at each time; their mean is the score.

    survival (n, T): predicted probability to be alive at times (T,). One who died by t costs
    S(t)^2 / G(time-), one followed beyond t costs (1 - S(t))^2 / G(t), one censored by t
    nothing. Raises ValueError when training follow-up has ended before a time.
    Source: Graf et al. 1999; Gerds and Schumacher 2006.
    """
    alive_weight = censoring.at(times)
    if (alive_weight <= 0).any():
        raise ValueError("a time lies beyond the training follow-up: nothing is known there")
    dead = follow_up.time[:, None] <= times
    weight = inverse_weights(follow_up, censoring)[:, None]
    return np.where(dead, survival**2 * weight, (1 - survival) ** 2 / alive_weight)


def brier_score(
    follow_up: FollowUp, survival: Floats, times: Floats, censoring: CensoringCurve
) -> NDArray[np.float64]:
    """The Brier score (T,) at each time: 0 is perfect, 0.25 a coin."""
    return squared_errors(follow_up, survival, times, censoring).mean(axis=0)


def integrate(scores: Floats, times: Floats) -> NDArray[np.float64]:
    """Scores (..., T) averaged over time by the trapezoid rule; nan for no times."""
    if len(times) < 2:
        alone = scores[..., 0] if len(times) else np.full(scores.shape[:-1], np.nan)
        return np.asarray(alone, np.float64)
    area = np.trapezoid(scores, times, axis=-1) / (times[-1] - times[0])
    return np.asarray(area, np.float64)


def integrated_brier_score(
    follow_up: FollowUp, survival: Floats, times: Floats, censoring: CensoringCurve
) -> float:
    """The Brier score averaged over times (T,), increasing, by the trapezoid rule."""
    return float(integrate(brier_score(follow_up, survival, times, censoring), times))
