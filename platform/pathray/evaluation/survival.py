"""From the test predictions of all folds to measures with intervals: survival."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.evaluation.bootstrap import RESAMPLES, Floats, estimate, nan_mean
from pathray.evaluation.folds import Fold
from pathray.evaluation.predictions import RiskPredictions
from pathray.evaluation.repeats import by_repeat, pooling
from pathray.evaluation.results import Evaluation, FoldResult
from pathray.survival.auc import auc_at
from pathray.survival.brier import integrate, squared_errors
from pathray.survival.censoring import CensoringCurve, censoring_curve
from pathray.survival.concordance import weighted_pairs
from pathray.survival.curves import log_rank_p
from pathray.survival.followup import FollowUp


@dataclass(frozen=True)
class SurvivalTest:
    """A fold's tested patients, and what its *training* patients say about judging them.

    `training` is their follow-up (for the censoring weights), `cut` the median of their risks
    (what is above it is high risk); `survival` (n, T) the predicted probability that each
    tested patient is alive at `times` (T,), which `evaluation_times(training)` gives.
    """

    predictions: RiskPredictions
    training: FollowUp
    cut: float
    times: NDArray[np.float64]
    survival: Floats

    def __post_init__(self) -> None:
        patients = self.predictions.patients
        if len(set(patients)) != len(patients):
            raise ValueError("survival is scored by patient: take `by_patient` of the predictions")
        if self.survival.shape != (len(patients), len(self.times)):
            raise ValueError(f"survival {self.survival.shape} is not patients by times")

    @property
    def fold(self) -> Fold:
        """The fold that was tested."""
        return self.predictions.fold


def evaluate_survival(
    tested: Sequence[SurvivalTest], seed: int = 0, resamples: int = RESAMPLES
) -> Evaluation:
    """Measures of each fold and of all.

    c_index: pairs are counted within folds and summed over a repeat. auc: the mean over times
    of the cumulative/dynamic AUC. integrated_brier: over the same times. The latter two are
    means over folds, because each fold has its own times. Several repeats (every Monte-Carlo
    fold is one) are averaged. `details` holds the log-rank p of the `risk_groups`.
    """
    samples = [_Repeat.of(folds) for folds in by_repeat(tested)]
    groups = risk_groups(tested)
    return Evaluation(
        task="survival",
        patients=len(groups.patients),
        overall=estimate(samples, seed, resamples),
        folds=tuple(_fold(test, seed, resamples) for test in tested),
        pooling=pooling(tested, "C-index over pairs within folds, the rest averaged over folds"),
        seed=seed,
        details={
            "events": int(groups.follow_up.event.sum()),
            "high_risk": int(groups.high.sum()),
            "log_rank_p": groups.log_rank_p(),
        },
    )


@dataclass(frozen=True)
class RiskGroups:
    """Tested patients (n,) in two groups; each patient once, high (n,) bool."""

    patients: tuple[str, ...]
    follow_up: FollowUp
    high: NDArray[np.bool_]

    def log_rank_p(self) -> float | None:
        """Whether the groups live alike; None when one is empty or nobody died."""
        p = log_rank_p(self.follow_up.take(self.high), self.follow_up.take(~self.high))
        return None if np.isnan(p) else p


def risk_groups(tested: Sequence[SurvivalTest]) -> RiskGroups:
    """High and low risk, cut in each fold at the median risk of its training patients.

    A patient tested several times is of the group it was in at least half of the times: the
    log-rank test needs each patient once.
    """
    names = np.concatenate([list(test.predictions.patients) for test in tested])
    high = np.concatenate([test.predictions.risk > test.cut for test in tested])
    time = np.concatenate([test.predictions.follow_up.time for test in tested])
    event = np.concatenate([test.predictions.follow_up.event for test in tested])
    patients, first, who = np.unique(names, return_index=True, return_inverse=True)
    share = np.bincount(who, high) / np.bincount(who)
    return RiskGroups(tuple(patients.tolist()), FollowUp(time[first], event[first]), share >= 0.5)


@dataclass(frozen=True)
class _Judged:
    """A fold with what does not change over resamples."""

    test: SurvivalTest
    censoring: CensoringCurve
    errors: Floats
    """Weighted squared error (n, T) of the predicted curves."""

    @classmethod
    def of(cls, test: SurvivalTest) -> "_Judged":
        curve = censoring_curve(test.training)
        follow_up = test.predictions.follow_up
        return cls(test, curve, squared_errors(follow_up, test.survival, test.times, curve))

    def auc(self, weights: Floats) -> Floats:
        """Mean over the times at which it is defined (B,)."""
        predictions, times = self.test.predictions, self.test.times
        areas = auc_at(predictions.follow_up, predictions.risk, times, self.censoring, weights)
        return nan_mean(list(areas.T)) if len(times) else np.full(len(weights), np.nan)

    def integrated_brier(self, weights: Floats) -> Floats:
        """(B,)."""
        total = weights.sum(axis=1, keepdims=True)
        sums = weights @ self.errors
        mean = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
        return integrate(mean, self.test.times)


@dataclass(frozen=True)
class _Repeat:
    """Folds that test different patients."""

    folds: tuple[_Judged, ...]
    patients: tuple[str, ...]

    @classmethod
    def of(cls, tests: Sequence[SurvivalTest]) -> "_Repeat":
        patients = tuple(patient for test in tests for patient in test.predictions.patients)
        return cls(tuple(map(_Judged.of, tests)), patients)

    def scores(self, weights: Floats) -> dict[str, Floats]:
        sizes = [len(fold.test.predictions.patients) for fold in self.folds]
        parts = np.split(weights, np.cumsum(sizes)[:-1], axis=1)
        mine = list(zip(self.folds, parts, strict=True))
        return {
            "c_index": _concordance(mine),
            "auc": nan_mean([fold.auc(part) for fold, part in mine]),
            "integrated_brier": nan_mean([fold.integrated_brier(part) for fold, part in mine]),
        }


def _concordance(folds: Sequence[tuple[_Judged, Floats]]) -> Floats:
    pairs = [
        weighted_pairs(fold.test.predictions.follow_up, fold.test.predictions.risk, part)
        for fold, part in folds
    ]
    concordant, comparable = (np.sum(counts, axis=0) for counts in zip(*pairs, strict=True))
    undefined = np.full(len(comparable), np.nan)
    return np.divide(concordant, comparable, out=undefined, where=comparable > 0)


def _fold(test: SurvivalTest, seed: int, resamples: int) -> FoldResult:
    patients = len(test.predictions.patients)
    scores = estimate([_Repeat.of([test])], seed, resamples)
    return FoldResult(test.fold.name, test.fold.repeat, patients, patients, scores)
