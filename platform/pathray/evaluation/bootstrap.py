"""Intervals: patients are drawn again and again, and everything is scored anew each time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

RESAMPLES = 2000
LEVEL = 0.95

_CELLS = 4_000_000
"""Weights held at once: bounds the memory of large cohorts."""


@dataclass(frozen=True)
class Estimate:
    """A measure with its percentile bootstrap interval at 95%.

    None where the measure is undefined. `undefined` of the `resamples` left it so (one class
    only, no comparable pair) and do not count; the interval is None where most did.
    """

    value: float | None
    low: float | None
    high: float | None
    resamples: int
    undefined: int


class Sample(Protocol):
    """Rows that are scored together; a patient may have several."""

    @property
    def patients(self) -> Sequence[str]:
        """The patient of each row (n,)."""
        ...

    def scores(self, weights: Floats) -> Mapping[str, Floats]:
        """Measures (B,) by name when rows count `weights` (B, n) times; nan where undefined."""
        ...


def estimate(
    samples: Sequence[Sample], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Each measure's mean over the samples, with an interval.

    Patients are drawn with replacement from all patients of all samples, unstratified; one
    that is in several samples (tested in several repeats) is drawn for all of them, with all
    its rows, so that repeats do not pass for more patients. The mean is over the samples in
    which the measure is defined.
    """
    patients, rows = _rows(samples)
    rng = np.random.default_rng([seed, len(patients)])
    point = _means(samples, rows, np.ones((1, len(patients))))
    chunk = max(1, _CELLS // max(len(patients), 1))
    drawn = [
        _means(samples, rows, _draw(rng, len(patients), min(chunk, resamples - start)))
        for start in range(0, resamples, chunk)
    ]
    return {
        name: _estimate(value[0], np.concatenate([part[name] for part in drawn] or [value[:0]]))
        for name, value in point.items()
    }


def _rows(samples: Sequence[Sample]) -> tuple[list[str], list[NDArray[np.intp]]]:
    """All patients, sorted, and the index among them of every row of every sample."""
    patients = sorted({patient for sample in samples for patient in sample.patients})
    index = {patient: number for number, patient in enumerate(patients)}
    return patients, [np.array([index[p] for p in sample.patients], int) for sample in samples]


def _draw(rng: np.random.Generator, patients: int, count: int) -> Floats:
    """How often each patient is drawn (count, patients) when as many are drawn as there are."""
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=count).astype(float)


def _means(
    samples: Sequence[Sample], rows: Iterable[NDArray[np.intp]], drawn: Floats
) -> dict[str, Floats]:
    each = [sample.scores(drawn[:, mine]) for sample, mine in zip(samples, rows, strict=True)]
    return {name: nan_mean([scores[name] for scores in each]) for name in each[0]}


def nan_mean(values: Sequence[Floats]) -> Floats:
    """Mean (B,) of several (B,) over those that are defined; nan where none is."""
    stacked = np.stack(values)
    defined = ~np.isnan(stacked)
    count = defined.sum(axis=0)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _estimate(value: float, drawn: Floats) -> Estimate:
    defined = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(defined)
    low = high = None
    if len(defined) and 2 * undefined <= len(drawn) and not np.isnan(value):
        tail = (1 - LEVEL) / 2
        low, high = (float(bound) for bound in np.quantile(defined, [tail, 1 - tail]))
    shown = None if np.isnan(value) else float(value)
    return Estimate(shown, low, high, len(drawn), undefined)
