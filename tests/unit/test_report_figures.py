"""Figures show the numbers of the evaluation, for every shape a run can have."""

import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest
from made_results import class_run, one_fold, survival_run
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from pathray.evaluation.bootstrap import Estimate
from pathray.finetuning.result import RunResult
from pathray.report.figures.calibration import calibration, wilson
from pathray.report.figures.confusion import confusion
from pathray.report.figures.forest import forest
from pathray.report.figures.kaplan_meier import kaplan_meier_curves
from pathray.report.figures.operating import (
    GRID,
    precision_recall,
    precision_recall_curve,
    roc,
    roc_curve,
)
from pathray.report.figures.probabilities import probabilities
from pathray.report.figures.risks import risks
from pathray.report.figures.time_auc import time_auc
from pathray.report.figures.training import training
from pathray.report.making import OF_CLASSES, OF_SURVIVAL
from pathray.report.wording import estimated, interval, listed, number, p_value

NAMES = [f"P{n:03}" for n in range(30)]
PEOPLE = [f"TCGA-{n:02}" for n in range(30)]
FEW = 20


@pytest.fixture(scope="module")
def classes() -> RunResult:
    return class_run()


@pytest.fixture(scope="module")
def survival() -> RunResult:
    return survival_run()


def shortened(result: RunResult) -> RunResult:
    """Trained for one epoch."""
    folds = [
        fold.model_copy(update={"history": fold.history[:1], "best_epoch": 0})
        for fold in result.folds
    ]
    return result.model_copy(update={"folds": tuple(folds)})


def without_events() -> RunResult:
    """Nobody who is tested has an event."""
    result = survival_run(patients=30, events=0.5, resamples=FEW)
    censored = sorted(
        patient
        for fold in result.folds
        for patient, event in zip(fold.test.patients, fold.test.event, strict=True)
        if not event
    )
    folds = one_fold(PEOPLE, censored[:6])
    return survival_run(patients=30, events=0.5, resamples=FEW, folds=folds)


DEGENERATE: dict[str, Callable[[], RunResult]] = {
    "one fold": lambda: class_run(patients=30, resamples=FEW, folds=one_fold(NAMES, NAMES[20:])),
    "one class in the test": lambda: class_run(
        patients=30, resamples=FEW, folds=one_fold(NAMES, NAMES[20::2])
    ),
    "one tested slide": lambda: class_run(
        patients=30, resamples=FEW, folds=one_fold(NAMES, NAMES[20:21])
    ),
    "one epoch": lambda: shortened(class_run(patients=30, resamples=FEW)),
    "many long classes": lambda: class_run(
        tuple(f"Invasive carcinoma of no special type {n}" for n in range(5)), 50, resamples=FEW
    ),
    "no event in the test": without_events,
    "one patient in the test": lambda: survival_run(
        patients=30, resamples=FEW, folds=one_fold(PEOPLE, PEOPLE[:1])
    ),
    "few events": lambda: survival_run(patients=40, events=0.2, resamples=FEW),
    "negative risks": lambda: survival_run(patients=40, nll=True, resamples=FEW),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_every_figure_can_be_drawn_without_a_warning(case: str) -> None:
    result = DEGENERATE[case]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kinds = OF_CLASSES if result.task == "classification" else OF_SURVIVAL
        for figure in [draw(result) for draw in kinds]:
            assert ET.fromstring(figure.svg).tag.endswith("svg")
            assert figure.png.startswith(b"\x89PNG")


def test_a_roc_curve_worked_by_hand() -> None:
    score, case = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    (curve,) = roc_curve(score, case, np.ones((1, 4)))
    assert curve[0] == 0.5
    assert curve[GRID == 0.25] == 0.5
    assert curve[GRID == 0.75] == 1
    (doubled,) = roc_curve(score, case, np.array([[2.0, 1, 0, 1]]))
    assert doubled[0] == 1
    assert np.isnan(roc_curve(score, case, np.array([[1.0, 0, 1, 0]]))).all()


def test_a_precision_recall_curve_worked_by_hand() -> None:
    score, case = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    (curve,) = precision_recall_curve(score, case, np.ones((1, 4)))
    assert curve[GRID <= 0.5].tolist() == [1.0] * 51
    assert curve[GRID > 0.51] == pytest.approx(2 / 3)


def test_the_roc_of_two_classes_has_the_auc_of_the_table(classes: RunResult) -> None:
    (drawn,) = roc(classes).data["classes"]
    assert drawn["area"] == asdict(classes.evaluation.overall["auc"])
    assert np.trapezoid(drawn["band"]["value"], GRID) == pytest.approx(
        drawn["area"]["value"], abs=0.02
    )
    (drawn,) = precision_recall(classes).data["classes"]
    assert drawn["area"] == asdict(classes.evaluation.overall["average_precision"])


def test_the_band_holds_the_curve(classes: RunResult) -> None:
    (drawn,) = roc(classes).data["classes"]
    low, value, high = (np.array(drawn["band"][key]) for key in ("low", "value", "high"))
    assert (low <= value).mean() > 0.95
    assert (value <= high).mean() > 0.95
    assert (high - low).max() > 0.05


def test_each_of_several_classes_is_set_against_the_rest() -> None:
    result = class_run(("a", "b", "c"), 45, resamples=FEW)
    drawn = roc(result).data["classes"]
    assert [one["name"] for one in drawn] == ["a", "b", "c"]
    mean = np.mean([one["area"]["value"] for one in drawn])
    assert mean == pytest.approx(result.evaluation.overall["auc"].value)
    tested = [fold.tested_classes(result.classes) for fold in result.folds]
    labels = np.concatenate([one.labels.values for one in tested])
    score = np.concatenate([one.probabilities for one in tested])[:, 2]
    assert drawn[2]["area"]["value"] == pytest.approx(roc_auc_score(labels == 2, score))


def test_a_fold_without_both_classes_is_told_and_not_drawn() -> None:
    (lacking,), (whole,) = one_fold(NAMES, NAMES[20::2]), one_fold(NAMES, NAMES[:10])
    folds = [lacking, replace(whole, name="1")]
    result = class_run(patients=30, resamples=FEW, folds=folds)
    figure = roc(result)
    (drawn,) = figure.data["classes"]
    assert drawn["undrawn"] == ("0",)
    assert list(drawn["folds"]) == ["1"]
    assert b"1 fold undefined" in figure.svg


def test_the_distance_from_the_diagonal_is_the_calibration_error(classes: RunResult) -> None:
    bins = calibration(classes).data
    filled = [row for row in zip(*bins.values(), strict=True) if row[0]]
    counts = np.array([row[0] for row in filled])
    gaps = np.array([abs(row[3] - row[2]) for row in filled])
    ece = (counts * gaps).sum() / counts.sum()
    assert ece == pytest.approx(classes.evaluation.overall["ece"].value, abs=1e-4)
    assert sum(bins["count"]) == classes.cohort.slides
    assert all(p <= n for n, p in zip(bins["count"], bins["patients"], strict=True))


def test_intervals_of_shares_are_wilsons() -> None:
    low, high = wilson([0.0, 0.3, 1.0], np.array([4.0, 10, 7]))
    for row, (right, n) in enumerate([(0, 4), (3, 10), (7, 7)]):
        expected = binomtest(right, n).proportion_ci(method="wilson")
        assert (low[row], high[row]) == pytest.approx((expected.low, expected.high))


def test_rows_of_the_confusion_matrix_add_up(classes: RunResult) -> None:
    drawn = confusion(classes).data
    assert drawn["counts"] == classes.evaluation.details["confusion"]
    assert np.sum(drawn["shares"], axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert np.sum(drawn["counts"]) == classes.cohort.slides


def test_histograms_hold_every_prediction(classes: RunResult) -> None:
    (drawn,) = probabilities(classes).data["classes"]
    assert sum(drawn["class_share"]) == pytest.approx(1, abs=1e-3)
    assert sum(drawn["others_share"]) == pytest.approx(1, abs=1e-3)
    assert drawn["of_class"] + drawn["of_others"] == classes.cohort.slides


@pytest.mark.parametrize("kind", ["classes", "survival"])
def test_the_forest_is_the_table(kind: str, request: pytest.FixtureRequest) -> None:
    result: RunResult = request.getfixturevalue(kind)
    drawn = forest(result).data
    name = "auc" if kind == "classes" else "c_index"
    assert drawn["overall"] == asdict(result.evaluation.overall[name])
    assert [row["estimate"] for row in drawn["folds"]] == [
        asdict(fold.scores[name]) for fold in result.evaluation.folds
    ]


def test_kaplan_meier_counts_every_tested_patient_once() -> None:
    result = survival_run(protocol="monte_carlo", resamples=FEW)
    figure = kaplan_meier_curves(result)
    low, high = figure.data["curves"]
    assert low["n"] + high["n"] == result.evaluation.patients
    assert high["n"] == result.evaluation.details["high_risk"]
    assert low["events"] + high["events"] == result.evaluation.details["events"]
    at_risk = figure.data["at_risk"]
    assert at_risk["time"][0] == 0
    assert (at_risk["low risk"][0], at_risk["high risk"][0]) == (low["n"], high["n"])
    assert figure.data["log_rank_p"] == result.evaluation.details["log_rank_p"]
    assert b"Number at risk" in figure.svg
    assert b"Time (months)" in figure.svg


def test_auc_over_time_is_drawn_where_all_folds_have_times(survival: RunResult) -> None:
    drawn = time_auc(survival).data
    firsts = [fold.survival.times[0] for fold in survival.folds if fold.survival]
    lasts = [fold.survival.times[-1] for fold in survival.folds if fold.survival]
    assert drawn["time"][0] == pytest.approx(max(firsts), abs=1e-4)
    assert drawn["time"][-1] == pytest.approx(min(lasts), abs=1e-4)
    each = [np.mean([v for v in fold["auc"] if v is not None]) for fold in drawn["folds"]]
    assert np.mean(each) == pytest.approx(survival.evaluation.overall["auc"].value, abs=1e-4)


def test_risks_are_counted_from_the_cut_of_their_fold(survival: RunResult) -> None:
    drawn = risks(survival).data["folds"]
    fold = survival.folds[2]
    expected = np.array(fold.test.risk) - fold.survival.cut
    assert drawn[2]["above_cut"] == pytest.approx(expected, abs=1e-4)


def test_the_kept_epoch_is_marked_in_each_fold(classes: RunResult) -> None:
    figure = training(classes)
    assert [fold["best_epoch"] for fold in figure.data["folds"]] == [
        fold.best_epoch for fold in classes.folds
    ]
    assert f"fold 3, epoch {classes.folds[3].best_epoch}".encode() in figure.svg


def test_every_figure_states_its_numbers_of_patients_or_slides(
    classes: RunResult, survival: RunResult
) -> None:
    assert b"LUSC (34 slides)" in roc(classes).svg
    assert b"69 predictions" in confusion(classes).svg
    assert b"(n = 12)" in forest(classes).svg
    assert b"n = 80 patients" in kaplan_meier_curves(survival).svg


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < 0.001"),
        (0.0009, "p < 0.001"),
        (0.0341, "p = 0.034"),
        (0.5, "p = 0.50"),
        (0.9999, "p > 0.99"),
        (1.0, "p > 0.99"),
        (None, "p undefined"),
    ],
)
def test_p_values_are_neither_zero_nor_one(p: float | None, text: str) -> None:
    assert p_value(p) == text


def test_numbers_are_told_as_people_write_them() -> None:
    assert number(0.87149) == "0.871"
    assert number(-0.0001) == "0.000"
    assert number(-1.25, 1) == "-1.2"
    assert number(None) == "undefined"
    assert interval(0.8, 0.9, 2) == "0.80 to 0.90"
    assert interval(None, None) == "no interval"
    assert estimated(Estimate(0.5, None, None, 10, 9), 2) == "0.50 (no interval)"
    assert estimated(Estimate(None, None, None, 10, 10)) == "undefined"
    assert [listed(["a"]), listed(["a", "b", "c"])] == ["a", "a, b and c"]
