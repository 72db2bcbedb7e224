"""Folds: who trains a model, who steers it, who tests it.

Everything is dealt by patient, or by groups of patients such as sites: no group spans two
parts of a fold. Folds hold patients only, never labels; see `sealed` for the labels.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.errors import RequestError, some
from pathray.evaluation.dealing import deal

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """Sorted patient ids of the three parts.

    Folds of the same `repeat` test different patients: their test predictions may be pooled.
    """

    name: str
    repeat: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Strata:
    """What folds are balanced for: patient i is of stratum `names[of[i]]`, of (n,) int64.

    The class, or for survival whether the event was seen; patients are unique.
    """

    patients: tuple[str, ...]
    of: NDArray[np.int64]
    names: tuple[str, ...]
    dispensable: tuple[str, ...] = ()
    """Strata that a part may lack."""


def k_folds(
    strata: Strata,
    folds: int = 5,
    validation: float = 0.1,
    seed: int = 0,
    repeats: int = 1,
    groups: Mapping[str, str] | None = None,
) -> list[Fold]:
    """Cross-validation: in each repeat every patient is tested once.

    `validation` is a share of all patients, taken from those not tested. `groups` names each
    patient's group (see `tissue_source_sites`), default the patient. Raises RequestError when
    a stratum is too small, or a part would be left without one.
    """
    if folds < 2 or not 0 < validation < 1 - 1 / folds:
        raise RequestError(
            f"{folds} folds with a validation share of {validation:g} leave no patient to train on:"
            " take at least 2 folds and a smaller share"
        )
    # Of two folds the rest must still hold one to train on and one to steer by.
    _refuse_small(strata, 4 if folds == 2 else folds, f"{folds} folds")
    dealer = _Dealer(strata, groups)
    made = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        tested = dealer.split(dealer.everyone, [1 / folds] * folds, rng)
        for fold, test in enumerate(tested):
            rest = np.setdiff1d(dealer.everyone, test)
            share = validation / (1 - 1 / folds)
            train, steering = dealer.split(rest, [1 - share, share], rng)
            name = f"{fold}" if repeats == 1 else f"{repeat}.{fold}"
            made.append(dealer.fold(name, repeat, train, steering, test))
    return made


def monte_carlo(
    strata: Strata,
    folds: int = 10,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    groups: Mapping[str, str] | None = None,
) -> list[Fold]:
    """Monte-Carlo cross-validation as CLAM and BEPH do it: each fold is drawn anew.

    A patient may be tested in several folds and in none, so each fold is a repeat of its own.
    `validation` and `test` are shares of all patients. Raises RequestError as `k_folds` does.
    """
    if folds < 1 or min(validation, test) <= 0 or validation + test >= 1:
        raise RequestError(
            f"shares of {validation:g} for validation and {test:g} for test leave no patient to "
            "train on: both must be above 0, with a sum below 1"
        )
    share = min(validation, test)
    _refuse_small(strata, int(np.ceil(1 / share - 1e-9)), f"a part of {share:.0%}")
    dealer = _Dealer(strata, groups)
    made = []
    for fold in range(folds):
        rng = np.random.default_rng([seed, fold])
        shares = [1 - validation - test, validation, test]
        parts = dealer.split(dealer.everyone, shares, rng)
        made.append(dealer.fold(f"{fold}", fold, *parts))
    return made


def hold_out_validation(
    strata: Strata, development: Collection[str], share: float, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(train, validation) of patients that a given split leaves to train on."""
    dealer = _Dealer(strata, None)
    rows = np.flatnonzero(np.isin(strata.patients, list(development)))
    train, validation = dealer.split(rows, [1 - share, share], rng)
    return dealer.names(train), dealer.names(validation)


class _Dealer:
    """Splits patients, by index, along the borders of their groups."""

    def __init__(self, strata: Strata, groups: Mapping[str, str] | None) -> None:
        self.strata = strata
        self.grouped = groups is not None
        names = [groups[p] for p in strata.patients] if groups else list(strata.patients)
        self.group = np.unique(names, return_inverse=True)[1]
        self.everyone = np.arange(len(strata.patients))

    def split(
        self, rows: NDArray[np.intp], shares: list[float], rng: np.random.Generator
    ) -> list[NDArray[np.intp]]:
        groups, member = np.unique(self.group[rows], return_inverse=True)
        counts = np.zeros((len(groups), len(self.strata.names)), np.int64)
        np.add.at(counts, (member, self.strata.of[rows]), 1)
        part = deal(counts, shares, rng)[member]
        return [rows[part == number] for number in range(len(shares))]

    def fold(self, name: str, repeat: int, *parts: NDArray[np.intp]) -> Fold:
        for part, rows in zip(PARTS, parts, strict=True):
            lacking = short_of(self.strata, rows)
            if lacking:
                cure = "fewer folds or no site-preserved folds" if self.grouped else "fewer folds"
                raise RequestError(
                    f"the {part} part of fold {name} would have no patient of {some(lacking)}: "
                    f"take {cure}"
                )
        return Fold(name, repeat, *(self.names(rows) for rows in parts))

    def names(self, rows: NDArray[np.intp]) -> tuple[str, ...]:
        return tuple(sorted(self.strata.patients[row] for row in rows))


def short_of(strata: Strata, rows: NDArray[np.intp], least: int = 1) -> dict[str, int]:
    """The strata with fewer than `least` patients among these, and how many they have."""
    counts = np.bincount(strata.of[rows], minlength=len(strata.names))
    found = dict(zip(strata.names, counts.tolist(), strict=True))
    return {
        name: count
        for name, count in found.items()
        if count < least and name not in strata.dispensable
    }


def _refuse_small(strata: Strata, least: int, what: str) -> None:
    small = short_of(strata, np.arange(len(strata.patients)), least)
    if small:
        raise RequestError(
            f"too few patients of {some(f'{name!r} ({count})' for name, count in small.items())}: "
            f"{what} cannot do with fewer than {least}; take fewer folds or larger parts, or leave "
            "those patients out of the table"
        )
