"""Curves on a grid with a pointwise interval: patients are resampled, as for every measure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pathray.evaluation.bootstrap import Estimate, Sample, estimate
from pathray.finetuning.result import RunResult
from pathray.report.figure import numbers
from pathray.report.style import BAND, gaps

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Curve:
    """Rows (n,) of patients that are drawn together, and a curve (B, G) of them when they count
    `weights` (B, n) times: a `pathray.evaluation.bootstrap.Sample`, a measure a grid point."""

    patients: tuple[str, ...]
    over: Callable[[Floats], Floats]

    def scores(self, weights: Floats) -> Mapping[str, Floats]:
        """See `Sample`."""
        values = self.over(weights)
        return {f"{point}": values[:, point] for point in range(values.shape[1])}

    def itself(self) -> list[float | None]:
        """The curve (G,) when every row counts once."""
        return numbers(self.over(np.ones((1, len(self.patients))))[0])


def estimated_as(result: RunResult, samples: Sequence[Sample]) -> dict[str, Estimate]:
    """What samples say, with the seed and the number of resamples of the run's evaluation."""
    resamples = next(iter(result.evaluation.overall.values())).resamples
    return estimate(samples, result.evaluation.seed, resamples)


@dataclass(frozen=True)
class Band:
    """The mean curve (G,) of several samples, with its 95% bootstrap interval at each point."""

    value: list[float | None]
    low: list[float | None]
    high: list[float | None]

    @classmethod
    def over(cls, samples: Sequence[Curve], result: RunResult) -> "Band":
        """Resampled as the measures of the run were."""
        found = list(estimated_as(result, samples).values())
        return cls(
            numbers([point.value for point in found]),
            numbers([point.low for point in found]),
            numbers([point.high for point in found]),
        )

    def draw(self, axes: Axes, x: Floats, colour: str, label: str) -> None:
        """The line, and the band behind it."""
        axes.fill_between(x, gaps(self.low), gaps(self.high), color=colour, alpha=BAND, linewidth=0)
        axes.plot(x, gaps(self.value), color=colour, label=label)
