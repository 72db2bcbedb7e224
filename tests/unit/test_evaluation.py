"""Measures and intervals: scikit-learn's values, patients resampled, folds kept apart."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from pathray.evaluation.bootstrap import Estimate, Floats, estimate
from pathray.evaluation.classification import evaluate_classes
from pathray.evaluation.folds import Fold
from pathray.evaluation.labels import Labels
from pathray.evaluation.metrics import class_scores, confusion_matrices, reliability
from pathray.evaluation.predictions import ClassPredictions, RiskPredictions
from pathray.evaluation.survival import SurvivalTest, evaluate_survival, risk_groups
from pathray.survival.concordance import concordance_index, concordance_within
from pathray.survival.followup import FollowUp

Predicted = tuple[NDArray[np.int64], Floats]


@st.composite
def predicted(draw: st.DrawFn, classes: int | None = None) -> Predicted:
    """Labels and probabilities with ties; a class may be missing."""
    count = classes or draw(st.integers(2, 4))
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    coarse = rng.integers(1, draw(st.sampled_from([3, 100])), (n, count)).astype(float)
    return rng.integers(0, count, n), coarse / coarse.sum(axis=1, keepdims=True)


def once(labels: NDArray[np.int64], probabilities: Floats) -> dict[str, float]:
    """Measures with every row counted once."""
    scores = class_scores(labels, probabilities, np.ones((1, len(labels))))
    return {name: float(value[0]) for name, value in scores.items()}


@given(predicted())
def test_measures_are_those_of_scikit_learn(given_: Predicted) -> None:
    labels, probabilities = given_
    ours, count, called = once(*given_), probabilities.shape[1], probabilities.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # absent classes
        assert ours["f1"] == pytest.approx(reference.f1_score(labels, called, average="macro"))
        recall = reference.balanced_accuracy_score(labels, called)
    assert ours["balanced_accuracy"] == pytest.approx(recall)
    brier = reference.brier_score_loss(labels, probabilities, labels=np.arange(count))
    assert ours["brier"] == pytest.approx(brier)
    columns = [1] if count == 2 else range(count)
    if all(0 < (labels == k).sum() < len(labels) for k in columns):
        pairs = [(labels == k, probabilities[:, k]) for k in columns]
        areas = [reference.roc_auc_score(*pair) for pair in pairs]
        precisions = [reference.average_precision_score(*pair) for pair in pairs]
        assert ours["auc"] == pytest.approx(np.mean(areas))
        assert ours["average_precision"] == pytest.approx(np.mean(precisions))
    else:
        assert math.isnan(ours["auc"])


@given(predicted(), st.integers(0, 100))
def test_a_weight_is_so_many_rows(given_: Predicted, seed: int) -> None:
    labels, probabilities = given_
    weights = np.random.default_rng(seed).integers(0, 3, (5, len(labels))).astype(float)
    weights[:, 0] += 1
    scores = class_scores(labels, probabilities, weights)
    for row, weight in enumerate(weights):
        repeated = np.repeat(np.arange(len(labels)), weight.astype(int))
        alone = once(labels[repeated], probabilities[repeated])
        for name, values in scores.items():
            np.testing.assert_allclose(values[row], alone[name], atol=1e-12)


def test_calibration_of_five_predictions_is_what_a_hand_computes() -> None:
    sure = np.array([0.95, 0.95, 0.95, 0.6, 0.6])
    labels = np.array([1, 1, 0, 0, 0])
    probabilities = np.stack([1 - sure, sure], axis=1)
    # In the bin of .95 two of three are right, in that of .6 none.
    expected = 3 / 5 * abs(2 / 3 - 0.95) + 2 / 5 * 0.6
    assert once(labels, probabilities)["ece"] == pytest.approx(expected)
    bins = reliability(labels, probabilities)
    filled = bins.count > 0
    assert bins.count[filled].tolist() == [2, 3]
    np.testing.assert_allclose(bins.confidence[filled], [0.6, 0.95])
    np.testing.assert_allclose(bins.accuracy[filled], [0, 2 / 3])


def test_a_confusion_matrix_is_true_by_predicted() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    matrix = confusion_matrices(np.array([0, 0, 1]), probabilities, np.ones((1, 3)))
    assert matrix.tolist() == [[[1, 1], [0, 1]]]


# Intervals.


@dataclass(frozen=True)
class Mean:
    """The mean of a value a row."""

    patients: Sequence[str]
    values: Floats

    def scores(self, weights: Floats) -> Mapping[str, Floats]:
        with np.errstate(invalid="ignore"):
            return {"mean": weights @ self.values / weights.sum(axis=1)}


def names(n: int) -> tuple[str, ...]:
    return tuple(f"P{number:04}" for number in range(n))


def bounds(found: Estimate) -> tuple[float, float]:
    """The interval, which must exist."""
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = estimate([Mean(names(400), values)])["mean"]
    assert found.value == pytest.approx(values.mean())
    low, high = bounds(found)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        found = estimate([Mean(names(60), rng.normal(size=60))], seed, resamples=400)["mean"]
        low, high = bounds(found)
        covered += low <= 0 <= high
    assert 180 <= covered <= 198


def test_slides_of_a_patient_are_resampled_together() -> None:
    values = np.random.default_rng(0).normal(size=50)
    single = estimate([Mean(names(50), values)])["mean"]
    fourfold = estimate([Mean(np.repeat(names(50), 4).tolist(), np.repeat(values, 4))])["mean"]
    assert bounds(fourfold) == pytest.approx(bounds(single))


def test_repeats_do_not_pass_for_more_patients() -> None:
    values = np.random.default_rng(0).normal(size=50)
    sample = Mean(names(50), values)
    tenfold, single = estimate([sample] * 10)["mean"], estimate([sample])["mean"]
    assert bounds(tenfold) == pytest.approx(bounds(single))


def test_the_same_seed_gives_the_same_interval() -> None:
    sample = Mean(names(50), np.random.default_rng(0).normal(size=50))
    assert estimate([sample], 1) == estimate([sample], 1)
    assert estimate([sample], 1) != estimate([sample], 2)


def test_resamples_that_say_nothing_are_counted_and_left_out() -> None:
    labels = np.array([0] * 9 + [1])
    probabilities = np.tile([0.6, 0.4], (10, 1))
    found = evaluate_classes([class_fold("0", labels, probabilities)]).overall
    share = found["auc"].undefined / found["auc"].resamples
    assert share == pytest.approx(0.9**10, abs=0.04)  # the only case was not drawn
    assert (found["auc"].value, found["auc"].low, found["auc"].high) == (0.5, 0.5, 0.5)
    assert found["brier"].undefined == 0


def test_a_measure_that_cannot_be_computed_is_none() -> None:
    found = evaluate_classes([class_fold("0", np.zeros(5, int), np.full((5, 2), 0.5))])
    assert found.overall["auc"].value is None
    assert found.overall["auc"].low is None
    assert json.loads(found.to_json())["overall"]["auc"]["value"] is None


# Folds.


def class_fold(
    name: str,
    labels: NDArray[np.int64],
    probabilities: Floats,
    repeat: int = 0,
    patients: Sequence[str] | None = None,
) -> ClassPredictions:
    """Predictions of a fold, patients of its own unless said."""
    owners = tuple(patients or (f"{name}-{number}" for number in range(len(labels))))
    fold = Fold(name, repeat, (), (), tuple(sorted(set(owners))))
    bags = tuple(f"slide {number}" for number in range(len(labels)))
    classes = tuple("abcd"[: probabilities.shape[1]])
    return ClassPredictions(fold, bags, owners, Labels(labels, classes), probabilities)


def two(positive: Sequence[float]) -> Floats:
    """Probabilities of two classes from those of the second."""
    return np.stack([1 - np.array(positive), np.array(positive)], axis=1)


def test_k_folds_are_pooled_and_monte_carlo_folds_averaged() -> None:
    labels = np.array([0, 1])
    first, second = two([0.1, 0.2]), two([0.7, 0.8])
    pooled = evaluate_classes([class_fold("0", labels, first), class_fold("1", labels, second)])
    assert pooled.overall["auc"].value == 0.75
    assert pooled.details["confusion"] == [[1, 1], [1, 1]]
    assert "pooled" in pooled.pooling
    patients = ["P0", "P1"]
    averaged = evaluate_classes(
        [class_fold("0", labels, first, 0, patients), class_fold("1", labels, second, 1, patients)]
    )
    assert averaged.overall["auc"].value == 1
    assert averaged.patients == 2
    assert averaged.pooling.startswith("mean over 2 fold(s)")


def test_a_patient_tested_twice_in_a_repeat_is_refused() -> None:
    folds = [class_fold(name, np.array([0, 1]), two([0, 1]), 0, ["P0", "P1"]) for name in "ab"]
    with pytest.raises(ValueError, match="tests a patient twice"):
        evaluate_classes(folds)


def test_results_are_json_with_every_fold() -> None:
    found = evaluate_classes(
        [class_fold(name, np.array([0, 1, 1]), two([0, 1, 0])) for name in "ab"]
    )
    data = json.loads(found.to_json())
    assert [fold["fold"] for fold in data["folds"]] == ["a", "b"]
    assert data["folds"][0]["scores"]["auc"]["value"] == 0.75
    assert (data["patients"], data["folds"][0]["bags"], data["level"]) == (6, 3, 0.95)


def survival_fold(
    name: str,
    time: Sequence[float],
    risk: Sequence[float],
    cut: float,
    repeat: int = 0,
    patients: Sequence[str] | None = None,
) -> SurvivalTest:
    """A fold in which everybody dies; curves are of no interest."""
    owners = tuple(patients or (f"{name}-{number}" for number in range(len(time))))
    fold = Fold(name, repeat, (), (), owners)
    follow_up = FollowUp.of(time, np.ones(len(time)))
    predictions = RiskPredictions(fold, owners, owners, follow_up, np.asarray(risk, float))
    training = FollowUp.of([1, 2, 3, 4, 5, 6, 7, 8], np.ones(8))
    times = np.array([1.5, 2.5])
    return SurvivalTest(predictions, training, cut, times, np.full((len(time), 2), 0.5))


def test_survival_is_scored_within_folds() -> None:
    folds = [
        survival_fold("0", [1, 2, 3], [3, 2, 1], cut=2),
        survival_fold("1", [1, 2, 3], [103, 101, 102], cut=100),
    ]
    found = evaluate_survival(folds)
    pairs = [(fold.predictions.follow_up, fold.predictions.risk) for fold in folds]
    assert found.overall["c_index"].value == pytest.approx(5 / 6)
    assert concordance_within(pairs) == pytest.approx(5 / 6)
    assert found.overall["auc"].value == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert found.overall["integrated_brier"].value == pytest.approx(0.25)
    assert found.folds[1].scores["c_index"].value == pytest.approx(2 / 3)
    assert json.loads(found.to_json())["task"] == "survival"


@settings(max_examples=20)
@given(st.integers(2, 60), st.integers(0, 1000))
def test_the_c_index_of_one_fold_is_the_plain_one(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fold = survival_fold("0", rng.integers(1, 20, n).tolist(), rng.integers(0, 9, n).tolist(), 0)
    found = evaluate_survival([fold], resamples=20).overall["c_index"].value
    plain = concordance_index(fold.predictions.follow_up, fold.predictions.risk)
    assert found == pytest.approx(plain) or (found is None and math.isnan(plain))


def test_risk_groups_are_cut_where_training_says_and_hold_each_patient_once() -> None:
    groups = risk_groups(
        [
            survival_fold("0", [1, 9, 5], [3, 1, 3], cut=2, repeat=0, patients=["P0", "P1", "P2"]),
            survival_fold("1", [1, 9], [60, 70], cut=50, repeat=1, patients=["P0", "P1"]),
            survival_fold("2", [9], [70], cut=80, repeat=2, patients=["P1"]),
        ]
    )
    assert groups.patients == ("P0", "P1", "P2")
    assert groups.high.tolist() == [True, False, True]  # P1 was high in one of three
    assert groups.follow_up.time.tolist() == [1, 9, 5]
    # Of two dying early 7/6 were expected, variance 2/9 + 1/4: chi square 25/17.
    assert groups.log_rank_p() == pytest.approx(math.erfc(math.sqrt(25 / 17 / 2)))


def test_survival_of_slides_is_refused() -> None:
    with pytest.raises(ValueError, match="by patient"):
        survival_fold("0", [1, 1], [1, 2], 0, patients=["P0", "P0"])


def test_random_predictions_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 300), rng.random(300)
    found = evaluate_classes([class_fold("0", labels, two(scores.tolist()))]).overall["auc"]
    low, high = bounds(found)
    assert low < 0.5 < high
