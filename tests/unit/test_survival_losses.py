"""Survival losses: equal to the reference, and right where references are fragile."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from pathray.survival.concordance import concordance_index
from pathray.survival.cox import cox_loss
from pathray.survival.discrete import (
    discrete_nll,
    discrete_risk,
    discrete_survival,
    interval_edges,
    interval_of,
    survival_at,
)
from pathray.survival.followup import FollowUp

GOLDEN = Path(__file__).parents[1] / "golden" / "survival_losses.safetensors"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN)


def patients(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Risks, tied times and events."""
    rng = np.random.default_rng(seed)
    return (
        torch.tensor(rng.normal(size=n)),
        torch.tensor(rng.integers(1, max(2, n // 2), n).astype(float)),
        torch.tensor((rng.random(n) < 0.5).astype(float)),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_losses_are_those_of_the_golden_file(
    golden: dict[str, torch.Tensor], dtype: torch.dtype
) -> None:
    risk, logits = golden["risk"].to(dtype), golden["hazard_logits"].to(dtype)
    time, event, interval = golden["time"], golden["event"], golden["interval"]
    for found, name in (
        (cox_loss(risk, time, event), "cox_loss"),
        (discrete_nll(logits, interval, event, alpha=0), "nll_alpha0"),
        (discrete_nll(logits, interval, event, alpha=0.15), "nll_alpha015"),
    ):
        assert found.item() == pytest.approx(golden[name].item(), abs=1e-5)
    index = concordance_index(FollowUp.of(time, event), golden["risk"].numpy())
    assert index == pytest.approx(golden["concordance"].item(), abs=1e-12)


def test_cox_of_three_patients_is_what_a_hand_computes() -> None:
    risk = torch.tensor([0.0, 1.0, 2.0])
    loss = cox_loss(risk, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 0, 1]))
    first = math.log(1 + math.e + math.e**2)
    assert loss.item() == pytest.approx(first / 3)  # the last is alone at risk: costs nothing


@given(st.integers(2, 40), st.integers(0, 1000))
def test_cox_is_the_sum_over_every_risk_set_ties_included(n: int, seed: int) -> None:
    risk, time, event = patients(n, seed)
    terms = [torch.logsumexp(risk[time >= time[i]], 0) - risk[i] for i in range(n) if event[i] == 1]
    direct = sum(terms, torch.zeros(())) / n
    assert cox_loss(risk, time, event).item() == pytest.approx(direct.item(), abs=1e-9)


def test_cox_does_not_depend_on_the_order_or_on_a_shift_of_the_risks() -> None:
    risk, time, event = patients(50)
    shuffled = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    loss = cox_loss(risk, time, event)
    torch.testing.assert_close(cox_loss(risk[shuffled], time[shuffled], event[shuffled]), loss)
    torch.testing.assert_close(cox_loss(risk + 700, time, event), loss)


def test_cox_gradients_are_those_of_finite_differences() -> None:
    risk, time, event = patients(12)
    risk.requires_grad_()
    assert torch.autograd.gradcheck(lambda r: cox_loss(r, time, event), (risk,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_in_which_all_are_censored_gives_zero_and_zero_gradients(
    dtype: torch.dtype,
) -> None:
    risk = torch.tensor([3.0, -80.0, 5.0], dtype=dtype, requires_grad=True)
    loss = cox_loss(risk, torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert risk.grad is not None
    assert risk.grad.abs().max() == 0


def test_wild_risks_stay_finite() -> None:
    risk = torch.tensor([1e4, -1e4, 500.0], requires_grad=True)
    loss = cox_loss(risk, torch.tensor([3.0, 1.0, 2.0]), torch.ones(3))
    loss.backward()
    assert torch.isfinite(loss)
    assert risk.grad is not None
    assert torch.isfinite(risk.grad).all()


def test_the_discrete_loss_of_one_patient_is_what_a_hand_computes() -> None:
    logits = torch.logit(torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64))
    interval = torch.tensor([2])
    died = -math.log(0.9 * 0.8) - math.log(0.3)
    censored = -math.log(0.9 * 0.8 * 0.7)
    for alpha in (0.0, 0.15):
        event_loss = discrete_nll(logits, interval, torch.tensor([1]), alpha)
        censored_loss = discrete_nll(logits, interval, torch.tensor([0]), alpha)
        assert event_loss.item() == pytest.approx(died)
        assert censored_loss.item() == pytest.approx((1 - alpha) * censored)


def test_hazards_of_zero_and_one_do_not_make_the_loss_infinite() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = discrete_nll(logits, torch.tensor([1, 0]), torch.tensor([1, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_discrete_risk_is_minus_the_sum_of_survival() -> None:
    logits = torch.logit(torch.tensor([[0.5, 0.5], [0.1, 0.1]], dtype=torch.float64))
    np.testing.assert_allclose(discrete_survival(logits), [[0.5, 0.25], [0.9, 0.81]])
    np.testing.assert_allclose(discrete_risk(logits), [-0.75, -1.71])


def test_intervals_are_quartiles_of_the_times_of_those_who_died() -> None:
    training = FollowUp.of([1, 2, 3, 4, 5, 100, 100], [1, 1, 1, 1, 1, 0, 0])
    edges = interval_edges(training)
    assert edges.tolist() == [2, 3, 4]
    times = np.array([0.5, 1, 2, 2.5, 3, 4, 1000])
    assert interval_of(times, edges).tolist() == [0, 0, 1, 1, 2, 3, 3]


def test_intervals_that_ties_pull_together_become_one() -> None:
    edges = interval_edges(FollowUp.of([5, 5, 5, 5, 9], np.ones(5)))
    assert edges.tolist() == []  # every quartile is the first event time
    edges = interval_edges(FollowUp.of([1, 5, 5, 5, 5], np.ones(5)))
    assert edges.tolist() == [5]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=30))
def test_every_interval_holds_an_event_of_the_training_fold(times: list[int]) -> None:
    training = FollowUp.of(times, np.ones(len(times)))
    edges = interval_edges(training)
    assert set(interval_of(training.time, edges)) == set(range(len(edges) + 1))


def test_without_any_event_there_are_no_intervals() -> None:
    with pytest.raises(ValueError, match="no training patient has an event"):
        interval_edges(FollowUp.of([1, 2], [0, 0]))


def test_discrete_survival_over_time_falls_at_the_edges() -> None:
    survival = np.array([[0.9, 0.5, 0.2, 0.1]])
    edges = np.array([10.0, 20.0, 30.0])
    steps = survival_at(survival, edges, np.array([5.0, 10.0, 19.0, 20.0, 30.0, 99.0]))
    np.testing.assert_allclose(steps, [[1, 0.9, 0.9, 0.5, 0.2, 0.2]])


def test_follow_up_refuses_times_that_are_none() -> None:
    for times in ([0.0, 1.0], [-1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="finite and positive"):
            FollowUp.of(times, [0, 1])
    with pytest.raises(ValueError, match="do not match"):
        FollowUp.of([1.0], [0, 1])
