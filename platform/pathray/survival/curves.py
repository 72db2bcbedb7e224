"""Kaplan-Meier curves with numbers at risk, and the test whether two of them differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test
from numpy.typing import NDArray

from pathray.survival.followup import FollowUp

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KaplanMeierCurve:
    """The share of a group that is alive, with its 95% interval (Greenwood, log-log).

    time (m,) from 0, increasing; survival, low, high (m,), each until the next time;
    censored (c,): times at which patients left alive. n patients, of whom `events` died.
    """

    name: str
    time: Floats
    survival: Floats
    low: Floats
    high: Floats
    censored: Floats
    n: int
    events: int
    median: float | None
    """The time at which half have died; None when it was not reached."""


def kaplan_meier(follow_up: FollowUp, name: str) -> KaplanMeierCurve:
    """The curve of a group of at least one patient."""
    fitted = KaplanMeierFitter().fit(follow_up.time, follow_up.event)
    band = fitted.confidence_interval_.to_numpy()
    median = float(fitted.median_survival_time_)
    return KaplanMeierCurve(
        name=name,
        time=fitted.survival_function_.index.to_numpy(np.float64),
        survival=fitted.survival_function_.to_numpy()[:, 0],
        low=band[:, 0],
        high=band[:, 1],
        censored=np.sort(follow_up.time[~follow_up.event]),
        n=len(follow_up),
        events=int(follow_up.event.sum()),
        median=median if np.isfinite(median) else None,
    )


def numbers_at_risk(follow_up: FollowUp, times: Sequence[float] | Floats) -> NDArray[np.int64]:
    """How many patients are still followed at each time (T,), those who leave then included."""
    return (follow_up.time[:, None] >= np.asarray(times)).sum(axis=0)


def log_rank_p(one: FollowUp, other: FollowUp) -> float:
    """The log-rank test's p that two groups live alike; nan when one is empty or nobody died."""
    if not len(one) or not len(other) or not (one.event.any() or other.event.any()):
        return float("nan")
    return float(logrank_test(one.time, other.time, one.event, other.event).p_value)
