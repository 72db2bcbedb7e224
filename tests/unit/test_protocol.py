"""The whole protocol on a cohort with a planted signal: it is found, and only when it is there."""

import numpy as np
import torch
from numpy.typing import NDArray

from pathray.clinical.cohort import ClinicalCohort
from pathray.evaluation.folds import Fold, k_folds
from pathray.evaluation.predictions import RiskPredictions
from pathray.evaluation.results import Evaluation
from pathray.evaluation.sealed import seal
from pathray.evaluation.survival import SurvivalTest, evaluate_survival
from pathray.survival.breslow import breslow_baseline
from pathray.survival.censoring import evaluation_times
from pathray.survival.cox import cox_loss
from pathray.survival.followup import FollowUp

PATIENTS = 160
NAMES = tuple(f"P{number:03}" for number in range(PATIENTS))


def drawn(strength: float) -> tuple[ClinicalCohort, dict[str, NDArray[np.float64]]]:
    """A cohort whose hazard follows the first of three features, and the features by slide."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(PATIENTS, 3))
    death = rng.exponential(np.exp(-strength * features[:, 0])) + 0.01
    left = rng.exponential(1.5, PATIENTS) + 0.01
    follow_up = FollowUp.of(np.minimum(death, left), death <= left)
    return ClinicalCohort(NAMES, NAMES, follow_up), dict(zip(NAMES, features, strict=True))


def trained(train: ClinicalCohort, features: dict[str, NDArray[np.float64]]) -> torch.Tensor:
    """Weights (3,) of a linear Cox model, fitted with the loss."""
    assert isinstance(train.target, FollowUp)
    x = torch.tensor(np.stack([features[slide] for slide in train.slide_ids]))
    time, event = torch.tensor(train.target.time), torch.tensor(train.target.event)
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=30)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cox_loss(x @ weights, time, event)
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def one_fold(
    cohort: ClinicalCohort, features: dict[str, NDArray[np.float64]], fold: Fold
) -> SurvivalTest:
    """One fold, trained and opened."""
    development, test = seal(cohort, fold)
    training = development.train.target
    assert isinstance(training, FollowUp)
    weights = trained(development.train, features).numpy()
    train_risk = np.array([features[slide] @ weights for slide in development.train.slide_ids])
    opened = test.open({bag: features[bag] @ weights for bag in test.bags})
    assert isinstance(opened, RiskPredictions)
    predictions = opened.by_patient()
    times = evaluation_times(training)
    curves = breslow_baseline(training, train_risk).survival(predictions.risk, times)
    return SurvivalTest(predictions, training, float(np.median(train_risk)), times, curves)


def evaluated(strength: float) -> Evaluation:
    cohort, features = drawn(strength)
    return evaluate_survival([one_fold(cohort, features, f) for f in k_folds(cohort.strata(), 4)])


def test_a_planted_signal_is_found() -> None:
    found = evaluated(strength=1.0)
    index, brier = found.overall["c_index"], found.overall["integrated_brier"]
    assert index.low is not None
    assert index.low > 0.65
    assert brier.high is not None
    assert brier.high < 0.2
    assert found.details["log_rank_p"] < 1e-4


def test_where_there_is_no_signal_none_is_found() -> None:
    found = evaluated(strength=0.0)
    index = found.overall["c_index"]
    assert index.low is not None
    assert index.high is not None
    assert index.low < 0.5 < index.high
    assert found.details["log_rank_p"] > 0.01
