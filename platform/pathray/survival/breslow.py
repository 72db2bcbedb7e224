"""Breslow's baseline: from a risk to a patient's survival curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.survival.followup import FollowUp

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class BreslowBaseline:
    """Cumulative hazard of a patient whose risk is `centre`.

    times (m,) of events, increasing; cumulative_hazard (m,) at each and until the next.
    """

    times: NDArray[np.float64]
    cumulative_hazard: NDArray[np.float64]
    centre: float

    def survival(self, risk: Floats, times: Floats) -> NDArray[np.float64]:
        """The probability (n, T) that patients of risk (n,) are alive at times (T,)."""
        steps = np.concatenate([[0.0], self.cumulative_hazard])
        hazard = steps[np.searchsorted(self.times, times, side="right")]
        with np.errstate(over="ignore", invalid="ignore"):
            spent = np.exp(np.asarray(risk, np.float64) - self.centre)[:, None] * hazard
        return np.exp(-np.where(hazard == 0, 0.0, spent))


def breslow_baseline(training: FollowUp, risk: Floats) -> BreslowBaseline:
    """The baseline of the *training* patients with risks (n,), log-hazards of a Cox model.

    At each event time the hazard grows by events / sum of exp(risk) of those still at risk.
    Raises ValueError when nobody has an event or a risk is not finite. Source: Breslow 1974.
    """
    if not training.event.any():
        raise ValueError("no training patient has an event: there is no baseline hazard")
    if not np.isfinite(risk).all():
        raise ValueError("a risk is not finite")
    centre = float(np.mean(risk))
    order = np.argsort(-training.time, kind="stable")
    descending = -training.time[order]
    at_risk = np.logaddexp.accumulate(np.asarray(risk, np.float64)[order] - centre)
    times, events = np.unique(training.time[training.event], return_counts=True)
    last = np.searchsorted(descending, -times, side="right") - 1
    return BreslowBaseline(times, np.cumsum(events * np.exp(-at_risk[last])), centre)
