"""Measures and curves of survival: lifelines' where it has them, hand-worked where not."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import CoxPHFitter, KaplanMeierFitter, NelsonAalenFitter
from lifelines.utils import concordance_index as lifelines_concordance
from numpy.typing import NDArray

from pathray.survival.auc import auc_at
from pathray.survival.breslow import breslow_baseline
from pathray.survival.brier import brier_score, integrated_brier_score
from pathray.survival.censoring import censoring_curve, evaluation_times
from pathray.survival.concordance import concordance_index, concordance_within, weighted_pairs
from pathray.survival.curves import kaplan_meier, log_rank_p, numbers_at_risk
from pathray.survival.followup import FollowUp

Cohort = tuple[FollowUp, NDArray[np.float64]]


@st.composite
def cohorts(draw: st.DrawFn, largest: int = 40) -> Cohort:
    """Follow-up and risks with ties in both, and any censoring."""
    n = draw(st.integers(2, largest))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    time = rng.integers(1, draw(st.integers(2, 50)), n)
    event = rng.random(n) < draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    return FollowUp.of(time, event), rng.integers(0, draw(st.integers(1, 50)), n).astype(float)


def tcga(shared: Path, name: str, time: str, event: str, seen: str) -> FollowUp:
    """Follow-up of a real cohort, a row a slide."""
    with (shared / "data/survival" / name).open() as file:
        rows = [row for row in csv.DictReader(file) if float(row[time]) > 0]
    return FollowUp.of(
        [float(row[time]) for row in rows], [float(row[event]) == float(seen) for row in rows]
    )


@given(cohorts())
def test_the_c_index_is_that_of_lifelines(cohort: Cohort) -> None:
    follow_up, risk = cohort
    ours = concordance_index(follow_up, risk)
    try:
        theirs = lifelines_concordance(follow_up.time, -risk, follow_up.event)
    except ZeroDivisionError:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "time", "event", "seen"),
    [
        ("BEPH_TCGA_KIRC.csv", "days", "OSFL", "1"),
        ("BEPH_tcga_brca_subset.csv", "survival_months", "censorship", "0"),
        ("SurvPath_tcga_blca.csv", "survival_months_pfi", "censorship_pfi", "0"),
    ],
)
def test_the_c_index_of_real_follow_up_is_that_of_lifelines(
    shared: Path, name: str, time: str, event: str, seen: str
) -> None:
    follow_up = tcga(shared, name, time, event, seen)
    assert len(np.unique(follow_up.time)) < len(follow_up)  # real cohorts have ties
    risk = np.random.default_rng(0).normal(size=len(follow_up)).round(1) - follow_up.time / 50
    theirs = lifelines_concordance(follow_up.time, -risk, follow_up.event)
    assert concordance_index(follow_up, risk) == pytest.approx(theirs, abs=1e-12)


def test_a_c_index_over_folds_counts_no_pair_across_them() -> None:
    perfect = FollowUp.of([1, 2], [1, 1]), np.array([2.0, 1.0])
    shifted = FollowUp.of([3, 4], [1, 1]), np.array([102.0, 101.0])
    assert concordance_within([perfect, shifted]) == 1
    pooled = FollowUp.of([1, 2, 3, 4], np.ones(4)), np.array([2.0, 1.0, 102.0, 101.0])
    assert concordance_index(*pooled) == pytest.approx(2 / 6)


@given(cohorts(), st.integers(0, 100))
def test_weighted_pairs_are_those_of_patients_repeated(cohort: Cohort, seed: int) -> None:
    follow_up, risk = cohort
    weights = np.random.default_rng(seed).integers(0, 4, (1, len(risk)))
    repeated = np.repeat(np.arange(len(risk)), weights[0])
    ones = np.ones((1, len(repeated)))
    assert weighted_pairs(follow_up, risk, weights) == weighted_pairs(
        follow_up.take(repeated), risk[repeated], ones
    )


def test_a_risk_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        concordance_index(FollowUp.of([1, 2], [1, 1]), np.array([np.nan, 1]))


def test_the_censoring_curve_of_five_patients_is_what_a_hand_computes() -> None:
    # Censored at 2 (with an event: it came first) and at 4.
    follow_up = FollowUp.of([1, 2, 2, 4, 5], [1, 1, 0, 0, 1])
    curve = censoring_curve(follow_up)
    times = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_allclose(curve.at(times), [1, 2 / 3, 2 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(curve.before(times), [1, 1, 2 / 3, 2 / 3, 1 / 3])


@given(cohorts())
def test_without_tied_times_the_censoring_curve_is_kaplan_meier_of_censoring(
    cohort: Cohort,
) -> None:
    time = cohort[0].time + np.arange(len(cohort[1])) / 1000
    follow_up = FollowUp(time, cohort[0].event)
    fitted = KaplanMeierFitter().fit(time, ~follow_up.event)
    expected = fitted.survival_function_at_times(time).to_numpy()
    np.testing.assert_allclose(censoring_curve(follow_up).at(time), expected, atol=1e-12)


def test_auc_over_time_without_censoring_is_the_plain_auc() -> None:
    follow_up = FollowUp.of([1, 2, 3, 4], np.ones(4))
    risk = np.array([3.0, 4.0, 2.0, 3.0])
    areas = auc_at(follow_up, risk, np.array([0.5, 1, 2, 4]), censoring_curve(follow_up))
    # At 1: 3 against 4, 2, 3. At 2: {3, 4} against {2, 3}. Before and at the end: nobody.
    np.testing.assert_allclose(areas, [[np.nan, 1.5 / 3, 3.5 / 4, np.nan]])


def test_auc_over_time_weighs_later_deaths_for_those_censored_before() -> None:
    follow_up = FollowUp.of([1, 2, 3, 4], [1, 0, 1, 0])
    risk = np.array([1.0, 0.0, 3.0, 2.0])
    # G falls from 1 to 2/3 at 2: the death at 3 weighs 1.5; the control is the last patient.
    areas = auc_at(follow_up, risk, np.array([3.0]), censoring_curve(follow_up))
    assert areas.item() == pytest.approx((1 * 0 + 1.5 * 1) / 2.5)


@given(cohorts())
def test_auc_over_time_mirrors_when_risks_do(cohort: Cohort) -> None:
    follow_up, risk = cohort
    times, curve = np.unique(follow_up.time), censoring_curve(follow_up)
    areas = auc_at(follow_up, risk, times, curve)
    mirrored = np.where(np.isnan(areas), np.nan, 1 - areas)
    np.testing.assert_allclose(auc_at(follow_up, -risk, times, curve), mirrored, atol=1e-12)
    np.testing.assert_allclose(areas, auc_at(follow_up, risk**3, times, curve))


def test_brier_without_censoring_is_the_mean_squared_error() -> None:
    follow_up = FollowUp.of([1, 3], [1, 1])
    survival = np.array([[0.8, 0.3], [0.9, 0.6]])
    scores = brier_score(follow_up, survival, np.array([0.5, 2.0]), censoring_curve(follow_up))
    np.testing.assert_allclose(scores, [(0.2**2 + 0.1**2) / 2, (0.3**2 + 0.4**2) / 2])


def test_brier_with_censoring_is_what_a_hand_computes() -> None:
    follow_up = FollowUp.of([1, 2, 3, 4], [1, 0, 1, 0])
    survival = np.full((4, 1), 0.6)
    scores = brier_score(follow_up, survival, np.array([3.0]), censoring_curve(follow_up))
    # Died at 1 (G = 1), censored at 2 (nothing), died at 3 (G = 2/3), alive at 3 (G = 2/3).
    expected = (0.36 + 0 + 0.36 * 1.5 + 0.16 * 1.5) / 4
    np.testing.assert_allclose(scores, expected)


def test_integrated_brier_is_the_mean_over_time() -> None:
    follow_up = FollowUp.of([1, 10], [1, 1])
    survival = np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.5]])
    score = integrated_brier_score(
        follow_up, survival, np.array([2.0, 4.0, 8.0]), censoring_curve(follow_up)
    )
    assert score == pytest.approx((2 * 0.0625 + 4 * 0.125) / 6)


@given(cohorts())
def test_brier_of_a_coin_is_a_quarter_whatever_the_censoring(
    cohort: Cohort,
) -> None:
    follow_up = cohort[0]
    times = evaluation_times(follow_up)
    scores = brier_score(
        follow_up, np.full((len(follow_up), len(times)), 0.5), times, censoring_curve(follow_up)
    )
    # Inverse weights sum to the number of patients.
    np.testing.assert_allclose(scores, 0.25)


def test_times_beyond_training_follow_up_are_refused() -> None:
    follow_up = FollowUp.of([1, 2], [1, 0])
    with pytest.raises(ValueError, match="beyond the training follow-up"):
        brier_score(follow_up, np.ones((2, 1)), np.array([2.0]), censoring_curve(follow_up))


def test_times_of_evaluation_depend_on_training_deaths_alone() -> None:
    training = FollowUp.of([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [1] * 11)
    np.testing.assert_allclose(evaluation_times(training, 3), [2, 6, 10])
    assert len(evaluation_times(FollowUp.of([1, 2], [0, 0]))) == 0


def test_the_baseline_is_nelson_aalen_when_all_risks_are_equal() -> None:
    follow_up = FollowUp.of([1, 2, 2, 3, 5, 5], [1, 1, 0, 1, 1, 0])
    baseline = breslow_baseline(follow_up, np.full(6, 7.0))
    assert baseline.times.tolist() == [1, 2, 3, 5]
    expected = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(follow_up.time, follow_up.event)
    np.testing.assert_allclose(
        baseline.cumulative_hazard,
        expected.cumulative_hazard_.loc[baseline.times].to_numpy()[:, 0],
    )


def test_curves_of_a_cox_model_are_those_of_lifelines() -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    follow_up = FollowUp.of(rng.exponential(np.exp(-x)) + 0.01, rng.random(60) < 0.7)
    table = pd.DataFrame({"x": x, "T": follow_up.time, "E": follow_up.event})
    fitted = CoxPHFitter().fit(table, "T", "E")
    times = np.sort(follow_up.time[follow_up.event])[[2, 10, 30]]
    expected = fitted.predict_survival_function(table[:5], times).to_numpy().T
    risk = fitted.params_["x"] * x
    ours = breslow_baseline(follow_up, risk).survival(risk[:5], times)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_shift_of_all_risks_changes_no_curve_and_wild_risks_stay_probabilities() -> None:
    follow_up = FollowUp.of([1, 2, 3, 4], [1, 1, 0, 1])
    risk, times = np.array([0.0, 1.0, -1.0, 0.5]), np.array([0.5, 1, 2, 9])
    curves = breslow_baseline(follow_up, risk).survival(risk, times)
    shifted = breslow_baseline(follow_up, risk + 900).survival(risk + 900, times)
    np.testing.assert_allclose(curves, shifted)
    assert (curves[:, 0] == 1).all()
    assert (np.diff(curves) <= 0).all()
    wild = breslow_baseline(follow_up, risk * 1e4).survival(risk * 1e4, times)
    assert ((wild >= 0) & (wild <= 1)).all()


def test_kaplan_meier_of_six_patients_is_what_a_hand_computes() -> None:
    curve = kaplan_meier(FollowUp.of([1, 2, 2, 3, 4, 5], [1, 1, 0, 1, 0, 0]), "all")
    assert curve.time.tolist() == [0, 1, 2, 3, 4, 5]
    steps = np.array([1, 5 / 6, 5 / 6 * 4 / 5, 5 / 6 * 4 / 5 * 2 / 3])
    np.testing.assert_allclose(curve.survival, [*steps, steps[-1], steps[-1]])
    assert curve.censored.tolist() == [2, 4, 5]
    assert (curve.n, curve.events, curve.median) == (6, 3, 3)
    assert (curve.low <= curve.survival).all()
    assert (curve.high >= curve.survival).all()
    assert kaplan_meier(FollowUp.of([1, 2], [0, 0]), "alive").median is None


def test_numbers_at_risk_count_those_who_leave_at_the_time() -> None:
    follow_up = FollowUp.of([1, 2, 2, 5], [1, 0, 1, 1])
    assert numbers_at_risk(follow_up, [0, 1, 2, 3, 6]).tolist() == [4, 4, 3, 1, 0]


def test_log_rank_tells_groups_that_differ_from_those_that_do_not() -> None:
    early, late = (
        FollowUp.of(np.arange(1, 31), np.ones(30)),
        FollowUp.of(np.arange(40, 70), np.ones(30)),
    )
    assert log_rank_p(early, late) < 1e-6
    assert log_rank_p(early, early) == pytest.approx(1)
    assert math.isnan(log_rank_p(early, early.take(np.array([], int))))
    alive = FollowUp.of([1, 2], [0, 0])
    assert math.isnan(log_rank_p(alive, alive))
