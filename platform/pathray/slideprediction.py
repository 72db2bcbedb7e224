"""What an ensemble says of one slide (or patient): numbers of every model, and their range."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """The models' mean, and the lowest and highest of them."""

    mean: Floats
    low: Floats
    high: Floats

    @classmethod
    def over(cls, models: Floats) -> "Range":
        """Over the first axis of (K, ...)."""
        return cls(models.mean(axis=0), models.min(axis=0), models.max(axis=0))


@dataclass(frozen=True)
class SlidePrediction:
    """The answers of an ensemble of K models to one bag of N tiles.

    `attention` (N,) float32 sums to 1: the mean of the models'. Of a classifier,
    `probabilities` is (K, C), in the order of `classes`. Of a survival model, `risks` is (K,),
    higher dies sooner: log hazards relative to the mean training patient of each model (`cox`),
    or minus the expected intervals outlived (`nll`); `curves` (K, T) are the probabilities to
    be alive at `times` (T,), in the unit of the clinical table.
    """

    attention: NDArray[np.float32]
    classes: tuple[str, ...] = ()
    probabilities: Floats | None = None
    risks: Floats | None = None
    times: Floats | None = None
    curves: Floats | None = None

    def most_attended(self, count: int) -> NDArray[np.int64]:
        """Rows of the `count` tiles of highest attention, highest first; ties by row."""
        return np.argsort(-self.attention, kind="stable")[:count]
