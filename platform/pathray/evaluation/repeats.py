"""Which folds may be looked at together."""

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol, TypeVar

from pathray.evaluation.folds import Fold


class Tested(Protocol):
    """Anything that is said of a fold."""

    @property
    def fold(self) -> Fold: ...


T = TypeVar("T", bound=Tested)


def by_repeat(tested: Sequence[T]) -> list[list[T]]:
    """Folds of each repeat; no patient is tested twice within one.

    Raises ValueError when there is none, or when a repeat tests a patient twice.
    """
    if not tested:
        raise ValueError("no fold was tested")
    ordered = sorted(tested, key=lambda each: each.fold.repeat)
    repeats = [list(folds) for _, folds in groupby(ordered, key=lambda each: each.fold.repeat)]
    for folds in repeats:
        patients = [patient for each in folds for patient in each.fold.test]
        if len(patients) != len(set(patients)):
            raise ValueError(f"repeat {folds[0].fold.repeat} tests a patient twice")
    return repeats


def pooling(tested: Sequence[T], within: str) -> str:
    """How the overall numbers came about; `within` says it of one repeat."""
    repeats, folds = len(by_repeat(tested)), len(tested)
    if repeats == folds:
        return f"mean over {folds} fold(s), patients resampled across them"
    if repeats == 1:
        return f"{folds} folds: {within}"
    return f"{repeats} repeats of {folds // repeats} folds: {within} in each repeat, then the mean"
