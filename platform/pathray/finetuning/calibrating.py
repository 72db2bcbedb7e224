"""What the training patients say of a survival model's logits: risks, curves, where to cut."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pathray.evaluation.predictions import patient_means
from pathray.finetuning.parts import Part
from pathray.finetuning.result import SurvivalBasis, SurvivalRows, rows_of
from pathray.finetuning.task import DiscreteTask, Task
from pathray.slidemodel import cox_task, nll_task
from pathray.survival.breslow import BreslowBaseline, breslow_baseline
from pathray.survival.censoring import evaluation_times
from pathray.survival.followup import FollowUp

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """From logits to risks and curves, as the training patients calibrate them.

    `baseline` is None for discrete hazards, which need none.
    """

    task: Task
    basis: SurvivalBasis
    baseline: BreslowBaseline | None

    @classmethod
    def of(cls, task: Task, train: Part, logits: torch.Tensor) -> "Calibration":
        """From the logits (n, outputs) of the training bags."""
        assert isinstance(train.target, FollowUp)
        _, first, risks = patient_means(train.patients, _risk(task, logits))
        follow_up = train.target.take(first)
        basis = SurvivalBasis(
            cut=float(np.median(risks)),
            times=tuple(evaluation_times(follow_up).tolist()),
            time=tuple(follow_up.time.tolist()),
            event=tuple(follow_up.event.tolist()),
        )
        discrete = isinstance(task, DiscreteTask)
        return cls(task, basis, None if discrete else breslow_baseline(follow_up, risks))

    def risk(self, logits: torch.Tensor) -> Floats:
        """(n,), higher dies sooner."""
        return _risk(self.task, logits)

    def survival(self, logits: torch.Tensor) -> Floats:
        """The probability (n, T) to be alive at the times of `basis`."""
        times = np.array(self.basis.times)
        if isinstance(self.task, DiscreteTask):
            return self.task.survival(logits, times)
        assert self.baseline is not None
        return self.baseline.survival(self.risk(logits), times)

    def rows(self, part: Part, logits: torch.Tensor) -> SurvivalRows:
        """The answers for a part, by patient."""
        return _by_patient(part, self.risk(logits), self.survival(logits))

    def described(self) -> dict[str, object]:
        """What the slide model needs to tell curves."""
        if isinstance(self.task, DiscreteTask):
            return nll_task(self.task.edges)
        assert self.baseline is not None
        return cox_task(self.baseline)


def _risk(task: Task, logits: torch.Tensor) -> Floats:
    if isinstance(task, DiscreteTask):
        return task.risk(logits)
    return logits[:, 0].double().numpy()


def _by_patient(part: Part, risk: Floats, survival: Floats) -> SurvivalRows:
    """One row a patient: the means over the patient's bags."""
    assert isinstance(part.target, FollowUp)
    patients, first, risks = patient_means(part.patients, risk)
    _, _, curves = patient_means(part.patients, survival)
    truth = part.target.take(first)
    return SurvivalRows(
        patients=patients,
        time=tuple(truth.time.tolist()),
        event=tuple(truth.event.tolist()),
        risk=tuple(risks.tolist()),
        survival=rows_of(curves),
    )
