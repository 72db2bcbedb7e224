"""Survival in discrete time: intervals of follow-up, a hazard for each, their likelihood.

Source: Zadeh and Schmid 2020; the intervals and `alpha` as MCAT (Chen et al. 2021) uses them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from pathray.survival.followup import FollowUp

INTERVALS = 4
ALPHA = 0.15
"""Extra weight of patients with an event, as in MCAT."""


def interval_edges(training: FollowUp, intervals: int = INTERVALS) -> NDArray[np.float64]:
    """The inner edges that cut the event times of the *training* patients into quantiles.

    At most `intervals` - 1 increasing edges: where patients are few or share a time, quantiles
    fall together, and intervals without an event become one with the next. The first interval
    begins at 0 and the last never ends, so every patient of every fold has one. Raises
    ValueError when nobody has an event.
    """
    seen = training.time[training.event]
    if not len(seen):
        raise ValueError("no training patient has an event: there are no intervals to learn")
    edges = np.quantile(seen, np.arange(1, intervals) / intervals)
    # Edges with no event between them bound an interval in which nothing can be learnt.
    events_before = np.searchsorted(np.sort(seen), edges)
    distinct, first = np.unique(events_before, return_index=True)
    return edges[first[distinct > 0]]


def interval_of(time: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """The interval (n,) of each time; interval k is [edge k-1, edge k), counted from 0."""
    return np.searchsorted(edges, time, side="right").astype(np.int64)


def discrete_nll(logits: Tensor, interval: Tensor, event: Tensor, alpha: float = ALPHA) -> Tensor:
    """Mean negative log-likelihood of discrete hazards.

    logits (n, K), hazard = sigmoid; interval (n,) int64 in 0..K-1; event (n,), 1 = seen. With
    S the cumulated product of (1 - hazard) and Y the interval: an event costs
    -log S(Y-1) - log h(Y), a censored patient -log S(Y); the loss is
    (1 - alpha) * (event + censored) + alpha * event. Computed from logits, so that no hazard
    of 0 or 1 makes it infinite. Half precision is computed in float32.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    event = event.to(logits.dtype)
    column = interval.unsqueeze(1)
    log_survival = logsigmoid(-logits).cumsum(dim=1)
    survived = log_survival.gather(1, column).squeeze(1)
    before = survived - logsigmoid(-logits).gather(1, column).squeeze(1)
    died = before + logsigmoid(logits).gather(1, column).squeeze(1)
    cost = -(event * died + (1 - alpha) * (1 - event) * survived)
    return cost.mean()


def discrete_survival(logits: Tensor) -> Tensor:
    """Probability (n, K) to outlive each interval."""
    return torch.cumprod(1 - torch.sigmoid(logits), dim=1)


def discrete_risk(logits: Tensor) -> Tensor:
    """Risk (n,) = -sum of the survival over the intervals; higher dies sooner."""
    return -discrete_survival(logits).sum(dim=1)


def survival_at(
    survival: NDArray[np.floating], edges: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The step function (n, T) that `discrete_survival` (n, K) draws over time.

    It is 1 before the first edge and falls at each edge, where an interval has been outlived.
    The last interval has no end: its hazard is never spent.
    """
    start = np.ones((len(survival), 1))
    steps = np.concatenate([start, survival[:, : len(edges)]], axis=1)
    return steps[:, np.searchsorted(edges, times, side="right")]
