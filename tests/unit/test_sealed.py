"""The sealed test: no label without a prediction for every bag, and only once."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.clinical.cohort import ClinicalCohort
from pathray.errors import RequestError
from pathray.evaluation.folds import Fold, k_folds
from pathray.evaluation.labels import Labels
from pathray.evaluation.predictions import ClassPredictions, RiskPredictions
from pathray.evaluation.sealed import Level, SealedTest, seal
from pathray.survival.followup import FollowUp

FOLD = Fold("0", 0, train=("P0",), validation=("P1",), test=("P2", "P3"))
SLIDES = ("a", "b", "c", "d", "e")
OWNERS = ("P0", "P1", "P2", "P2", "P3")


def sealed(level: Level = "slide") -> SealedTest:
    labels = Labels(np.array([0, 1, 0, 0, 1]), ("x", "y"))
    return seal(ClinicalCohort(SLIDES, OWNERS, labels), FOLD, level)[1]


def survival(level: Level = "slide") -> SealedTest:
    follow_up = FollowUp.of([1, 2, 3, 3, 5], [1, 0, 1, 1, 0])
    return seal(ClinicalCohort(SLIDES, OWNERS, follow_up), FOLD, level)[1]


def test_what_a_model_is_made_from_holds_no_test_slide() -> None:
    cohort = ClinicalCohort(SLIDES, OWNERS, Labels(np.array([0, 1, 0, 0, 1]), ("x", "y")))
    development, test = seal(cohort, FOLD)
    assert development.train.slide_ids == ("a",)
    assert development.validation.slide_ids == ("b",)
    assert test.bags == ("c", "d", "e")
    assert test.patients == ("P2", "P2", "P3")
    assert pickle.loads(pickle.dumps(development)).train.slide_ids == ("a",)


@settings(max_examples=20)
@given(st.integers(0, 99))
def test_no_slide_of_a_tested_patient_is_trained_on(seed: int) -> None:
    owners = np.random.default_rng(seed).integers(0, 30, 200)
    cohort = ClinicalCohort(
        tuple(f"s{number:03}" for number in range(200)),
        tuple(f"P{owner:02}" for owner in owners),
        Labels(owners % 2, ("even", "odd")),
    )
    for fold in k_folds(cohort.strata(), 4, seed=seed):
        development, test = seal(cohort, fold)
        train, validation = development.train, development.validation
        slides = [*train.slide_ids, *validation.slide_ids, *test.bags]
        assert sorted(slides) == list(cohort.slide_ids)
        assert set(train.patient_ids).isdisjoint(validation.patient_ids)
        assert set(test.patients).isdisjoint(train.patient_ids + validation.patient_ids)


def test_predictions_of_all_slides_open_it() -> None:
    opened = sealed().open({"e": np.array([0.1, 0.9]), "c": np.array([0.8, 0.2]), "d": np.ones(2)})
    assert isinstance(opened, ClassPredictions)
    assert opened.bags == ("c", "d", "e")
    assert opened.labels.values.tolist() == [0, 0, 1]
    np.testing.assert_allclose(opened.probabilities, [[0.8, 0.2], [1, 1], [0.1, 0.9]])


def test_it_opens_once() -> None:
    test, risks = survival(), {"c": 1.0, "d": 2.0, "e": 0.0}
    test.open(risks)
    with pytest.raises(RuntimeError, match="opened before"):
        test.open(risks)


@pytest.mark.parametrize(
    ("risks", "reason"),
    [
        ({"c": 1.0, "d": 2.0}, "no prediction for e"),
        ({"c": 1.0, "d": 2.0, "e": 3.0, "a": 0.0}, "not in this test: a"),
        ({"c": 1.0, "d": float("nan"), "e": 3.0}, "not a finite prediction for d"),
    ],
)
def test_it_stays_shut_for_less(risks: dict[str, float], reason: str) -> None:
    test = survival()
    with pytest.raises(RequestError, match=reason):
        test.open(risks)
    assert isinstance(test.open({"c": 1.0, "d": 2.0, "e": 3.0}), RiskPredictions)


def test_it_neither_travels_nor_shows_its_labels() -> None:
    test = survival()
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not travel"):
            travel(test)
    assert not any("truth" in name or "target" in name for name in dir(test) if name[0] != "_")
    assert "FollowUp" not in repr(test)


def test_a_bag_may_be_a_patient() -> None:
    test = survival("patient")
    assert test.bags == ("P2", "P3")
    opened = test.open({"P2": 1.5, "P3": 0.0})
    assert isinstance(opened, RiskPredictions)
    assert opened.follow_up.time.tolist() == [3, 5]


def test_slides_are_averaged_to_patients() -> None:
    opened = survival().open({"c": 1.0, "d": 2.0, "e": 0.0})
    assert isinstance(opened, RiskPredictions)
    patients = opened.by_patient()
    assert patients.bags == patients.patients == ("P2", "P3")
    assert patients.risk.tolist() == [1.5, 0]
    assert patients.follow_up.event.tolist() == [True, False]
    classes = sealed().open({"c": np.array([1.0, 0]), "d": np.array([0, 1.0]), "e": np.ones(2)})
    assert isinstance(classes, ClassPredictions)
    np.testing.assert_allclose(classes.by_patient().probabilities, [[0.5, 0.5], [1, 1]])
    assert classes.by_patient().labels.values.tolist() == [0, 1]
