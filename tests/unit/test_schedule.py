"""The learning rate of every step."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathray.pretraining.schedule import Schedule


def test_the_rate_rises_from_a_ten_thousandth_to_the_peak_and_falls_to_the_end():
    schedule = Schedule(peak=1.5e-3, final=1e-5, steps=100, warmup=10)
    assert schedule.rate(0) == pytest.approx(1.5e-7)
    assert schedule.rate(10) == 1.5e-3
    assert schedule.rate(55) == pytest.approx((1.5e-3 + 1e-5) / 2)
    assert schedule.rate(100) == pytest.approx(1e-5)


def test_without_warm_up_the_first_step_has_the_peak():
    assert Schedule(1e-3, 0.0, 10, 0).rate(0) == 1e-3


@given(st.integers(1, 500), st.integers(0, 500), st.floats(1e-6, 1.0))
def test_every_rate_is_between_nothing_and_the_peak(steps: int, warmup: int, peak: float):
    schedule = Schedule(peak, peak / 100, steps, min(warmup, steps))
    rates = [schedule.rate(step) for step in range(steps)]
    assert all(math.isfinite(rate) and 0 < rate <= peak * (1 + 1e-12) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
