"""How likely a patient is still under observation: the weights that undo censoring."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.survival.followup import FollowUp

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class CensoringCurve:
    """Kaplan-Meier estimate of G(t) = P(not censored by t).

    times (m,) increasing; probability (m,) = G at each and until the next.
    """

    times: Floats
    probability: Floats

    def at(self, time: Floats) -> Floats:
        """G(t): of not being censored up to and at t."""
        return self._steps()[np.searchsorted(self.times, time, side="right")]

    def before(self, time: Floats) -> Floats:
        """G(t-): of not being censored before t."""
        return self._steps()[np.searchsorted(self.times, time, side="left")]

    def _steps(self) -> Floats:
        return np.concatenate([[1.0], self.probability])


def censoring_curve(training: FollowUp) -> CensoringCurve:
    """The censoring distribution of the training patients.

    Of an event and a censoring at the same time the event came first, so patients with an
    event at t are no longer at risk of being censored at t.
    """
    times, where = np.unique(training.time, return_inverse=True)
    events = np.bincount(where, training.event, len(times))
    censored = np.bincount(where, ~training.event, len(times))
    leaving = events + censored
    at_risk = leaving[::-1].cumsum()[::-1] - events
    kept = 1 - censored / np.maximum(at_risk, 1)
    return CensoringCurve(times, np.cumprod(kept, dtype=np.float64))


def evaluation_times(training: FollowUp, count: int = 10) -> Floats:
    """Times (count,) to judge a model at: evenly from the 10th to the 90th percentile of
    training event times, none where the training fold's follow-up has ended.

    They depend on training patients alone. Empty when no patient has an event.
    """
    seen = training.time[training.event]
    if not len(seen):
        return np.empty(0)
    low, high = np.quantile(seen, [0.1, 0.9])
    times = np.unique(np.linspace(float(low), float(high), count))
    return times[censoring_curve(training).at(times) > 0]
