"""Kaplan-Meier curves of patients of high and of low predicted risk."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from pathray.evaluation.survival import RiskGroups, risk_groups
from pathray.finetuning.result import RunResult
from pathray.report.figure import PAGE, Figure, numbers
from pathray.report.protocol import time_axis, time_unit
from pathray.report.style import BAND, BLUE, ORANGE, gaps
from pathray.report.wording import number, p_value
from pathray.survival.curves import KaplanMeierCurve, kaplan_meier, numbers_at_risk

COLOURS = {"low risk": BLUE, "high risk": ORANGE}


def kaplan_meier_curves(result: RunResult) -> Figure:
    """Both groups with numbers at risk; a group may be empty."""
    groups = risk_groups([fold.tested_survival() for fold in result.folds])
    members = {"low risk": ~groups.high, "high risk": groups.high}
    curves = [
        kaplan_meier(groups.follow_up.take(who), name) for name, who in members.items() if who.any()
    ]
    ticks = _ticks(float(groups.follow_up.time.max()))
    at_risk = {
        name: numbers_at_risk(groups.follow_up.take(who), ticks).tolist()
        for name, who in members.items()
    }
    p = groups.log_rank_p()
    unit = time_unit(result)
    return Figure.drawn(
        "kaplan_meier",
        "Kaplan-Meier curves of predicted risk",
        "Tested patients, cut in each fold at the median risk of its training patients. Bands: "
        f"95% intervals (Greenwood, log-log); ticks: censored patients.{_again(result)}",
        f"Kaplan-Meier curves, log-rank {p_value(p)}. " + " ".join(_said(c, unit) for c in curves),
        {
            "log_rank_p": p,
            "curves": [_data(curve) for curve in curves],
            "at_risk": {"time": ticks.tolist(), **at_risk},
        },
        (PAGE, 5.4),
        partial(_draw, curves, groups, ticks, at_risk, p, time_axis(result)),
    )


def _again(result: RunResult) -> str:
    tests = sum(len(fold.fold.test) for fold in result.folds)
    if tests == result.evaluation.patients:
        return ""
    return " Patients tested several times are in the group they were in most often."


def _ticks(longest: float) -> np.ndarray:
    ticks = np.array(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(0, longest))
    return ticks[(ticks >= 0) & (ticks <= longest)]


def _said(curve: KaplanMeierCurve, unit: str) -> str:
    median = f"median {number(curve.median, 1)} {unit}" if curve.median else "median not reached"
    return f"{curve.name}: {curve.n} patients, {curve.events} events, {median.strip()}."


def _data(curve: KaplanMeierCurve) -> dict[str, Any]:
    arrays = ("time", "survival", "low", "high", "censored")
    return asdict(curve) | {name: numbers(getattr(curve, name)) for name in arrays}


def _draw(
    curves: Sequence[KaplanMeierCurve],
    groups: RiskGroups,
    ticks: np.ndarray,
    at_risk: dict[str, list[int]],
    p: float | None,
    axis: str,
    canvas: Canvas,
) -> None:
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[6, 1])
    for curve in curves:
        _curve(above, curve)
    above.set(ylabel="Share without the event", ylim=(-0.02, 1.03))
    above.set_xlim(0, 1.02 * float(groups.follow_up.time.max()))
    above.set_xticks(ticks)
    above.tick_params(labelbottom=True)
    above.set_xlabel(axis)
    above.grid(True, axis="y")
    above.legend(loc="upper right", title=f"log-rank {p_value(p)}", alignment="left")
    n, events = len(groups.patients), int(groups.follow_up.event.sum())
    above.set_title(f"n = {n:,} patients, {events:,} events")
    _table(below, ticks, at_risk)


def _curve(axes: Axes, curve: KaplanMeierCurve) -> None:
    colour = COLOURS[curve.name]
    median = f"median {number(curve.median, 1)}" if curve.median else "median not reached"
    name = f"{curve.name}: n = {curve.n:,}, {curve.events:,} events, {median}"
    axes.fill_between(
        curve.time, gaps(curve.low), gaps(curve.high),
        step="post", color=colour, alpha=BAND, linewidth=0,
    )  # fmt: skip
    axes.step(curve.time, curve.survival, where="post", color=colour, label=name)
    at = np.searchsorted(curve.time, curve.censored, side="right") - 1
    axes.plot(
        curve.censored, curve.survival[at], "|", color=colour, markersize=6, markeredgewidth=1
    )


def _table(axes: Axes, ticks: np.ndarray, at_risk: dict[str, list[int]]) -> None:
    """Numbers at risk under the ticks."""
    axes.set(ylim=(len(at_risk) - 0.4, -0.6))
    axes.set_yticks(range(len(at_risk)), list(at_risk))
    for row, (name, counts) in enumerate(at_risk.items()):
        axes.get_yticklabels()[row].set_color(COLOURS[name])
        for tick, n in zip(ticks, counts, strict=True):
            axes.text(
                tick, row, f"{n:,}", ha="center", va="center_baseline", fontsize=8.5, clip_on=False
            )
    axes.set_title("Number at risk", fontsize=8.5)
    axes.tick_params(length=0, labelbottom=False, pad=22)
    axes.spines[:].set_visible(False)
