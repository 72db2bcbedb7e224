"""What a model learns: the loss of its logits, and what the logits say."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pathray.evaluation.labels import Labels
from pathray.finetuning.recipe import Recipe
from pathray.mil.aggregator import Criterion
from pathray.survival.cox import cox_loss
from pathray.survival.discrete import (
    INTERVALS,
    discrete_nll,
    discrete_risk,
    discrete_survival,
    interval_edges,
    interval_of,
    survival_at,
)
from pathray.survival.followup import FollowUp

Target = Labels | FollowUp
Floats = NDArray[np.float64]


class Task(Protocol):
    """A loss over bags, for logits (B, `outputs`)."""

    @property
    def outputs(self) -> int:
        """Logits a bag."""
        ...

    def criterion(self, target: Target, device: torch.device) -> Criterion:
        """The mean loss of bags with these targets (B,)."""
        ...

    def labels(self, target: Target, device: torch.device) -> Tensor | None:
        """Classes (B,) int64 for losses of instances; None where there are no classes."""
        ...


@dataclass(frozen=True)
class ClassTask:
    """Cross-entropy over classes."""

    outputs: int

    def criterion(self, target: Target, device: torch.device) -> Criterion:
        """See `Task`."""
        labels = self.labels(target, device)
        return lambda logits: cross_entropy(logits, labels)

    def labels(self, target: Target, device: torch.device) -> Tensor:
        """See `Task`."""
        assert isinstance(target, Labels)
        return torch.from_numpy(target.values).to(device)


@dataclass(frozen=True)
class CoxTask:
    """Cox's partial likelihood of the batch; the one logit is the log hazard."""

    outputs: int = 1

    def criterion(self, target: Target, device: torch.device) -> Criterion:
        """See `Task`."""
        time, event = _follow_up(target, device)
        return lambda logits: cox_loss(logits[:, 0], time, event)

    def labels(self, target: Target, device: torch.device) -> None:
        """See `Task`."""


@dataclass(frozen=True)
class DiscreteTask:
    """Hazards of the intervals between `edges` (K - 1 or fewer, of the training patients)."""

    edges: Floats
    alpha: float
    outputs: int = INTERVALS

    def criterion(self, target: Target, device: torch.device) -> Criterion:
        """See `Task`."""
        assert isinstance(target, FollowUp)
        interval = torch.from_numpy(interval_of(target.time, self.edges)).to(device)
        event = torch.from_numpy(target.event).to(device)
        return lambda logits: discrete_nll(logits, interval, event, self.alpha)

    def labels(self, target: Target, device: torch.device) -> None:
        """See `Task`."""

    def risk(self, logits: Tensor) -> Floats:
        """(n,). Of intervals that no edge bounds nothing was learnt: they are left out."""
        return discrete_risk(self._learnt(logits)).double().numpy()

    def survival(self, logits: Tensor, times: Floats) -> Floats:
        """The probability (n, T) to be alive at times (T,)."""
        return survival_at(discrete_survival(self._learnt(logits)).numpy(), self.edges, times)

    def _learnt(self, logits: Tensor) -> Tensor:
        return logits[:, : len(self.edges) + 1]


def _follow_up(target: Target, device: torch.device) -> tuple[Tensor, Tensor]:
    assert isinstance(target, FollowUp)
    return torch.from_numpy(target.time).to(device), torch.from_numpy(target.event).to(device)


def task_of(recipe: Recipe, training: Target) -> Task:
    """The task of a recipe for training targets of patients (or of bags, for classes)."""
    if isinstance(training, Labels):
        return ClassTask(len(training.classes))
    if recipe.loss == "cox":
        return CoxTask()
    return DiscreteTask(interval_edges(training), recipe.alpha)
