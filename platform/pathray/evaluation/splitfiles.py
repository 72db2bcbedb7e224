"""Splits that others made: CLAM's and SurvPath's CSV files, or a table of folds."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathray import storage
from pathray.clinical.cohort import ClinicalCohort
from pathray.cohort import read_table
from pathray.errors import PathrayError, RequestError, some
from pathray.evaluation.folds import PARTS, Fold, hold_out_validation, short_of
from pathray.slides.companions import EXTENSIONS, suffix

_CLAM_FILE = re.compile(r"splits_(\d+)\.csv")
_CLAM_COLUMNS = {"train": "train", "val": "validation", "test": "test"}

Written = dict[str, list[str]]
"""Part to the ids a file writes under it."""
Given = dict[str, set[str]]
"""Part to patients of the cohort."""


@dataclass(frozen=True)
class GivenFolds:
    """Folds of a split file, and lines about what did not fit the cohort."""

    folds: tuple[Fold, ...]
    notes: tuple[str, ...]


def read_splits(
    uri: str, cohort: ClinicalCohort, validation: float = 0.1, seed: int = 0
) -> GivenFolds:
    """Folds from files.

    A folder of `splits_0.csv`, `splits_1.csv`, … or one such file, with columns `train`, `val`
    and `test` of slide ids (CLAM) or patient ids; or a table with columns `patient_id` and
    `fold`, in which each fold is tested once. Where files have no `test` (SurvPath) their `val`
    is what models are judged by, so it becomes the test. Where validation patients are not
    given, a share `validation` of the patients to train on is held out, stratified.

    Folds that test different patients are one repeat, others a repeat each. RequestError when
    a patient is in two parts of a fold, or a part is empty; ids that are not in the cohort,
    and patients that are in no fold, are noted.
    """
    try:
        written = _read(storage.absolute(uri))
        given, unknown = _resolve(written, cohort)
        given = _with_validation(given, cohort, validation, seed)
        return GivenFolds(_folds(given), tuple(_notes(given, unknown, cohort)))
    except PathrayError as error:
        raise RequestError(f"--splits: {error}") from error
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--splits: {storage.reason(uri, error)}") from error


def _read(uri: str) -> dict[str, Written]:
    """What the files write, by fold."""
    if suffix(uri) in (".csv", ".parquet"):
        rows = read_table(uri)
        if rows and "fold" in rows[0]:
            return _table(rows, uri)
        return {storage.stem(uri).removeprefix("splits_"): _clam(rows, uri)}
    names = [entry.name for entry in storage.list_objects(uri, recursive=False)]
    numbers = sorted(int(found[1]) for found in map(_CLAM_FILE.fullmatch, names) if found)
    if not numbers:
        raise RequestError(f"{uri} holds no splits_0.csv, splits_1.csv, … and is no table")
    files = {str(number): storage.join(uri, f"splits_{number}.csv") for number in numbers}
    return {name: _clam(read_table(file), file) for name, file in files.items()}


def _clam(rows: Sequence[Mapping[str, str]], uri: str) -> Written:
    columns = {name: part for name, part in _CLAM_COLUMNS.items() if rows and name in rows[0]}
    if "train" not in columns or len(columns) < 2:
        raise RequestError(
            f"{uri} is no split file (it has: {some(rows[0], 20) if rows else 'no rows'}): give "
            "columns train, val and test, or patient_id and fold"
        )
    if "test" not in columns:
        columns["val"] = "test"
    return {part: _cells(rows, name) for name, part in columns.items()}


def _table(rows: Sequence[Mapping[str, str]], uri: str) -> dict[str, Written]:
    if "patient_id" not in rows[0]:
        raise RequestError(f"{uri} has a column `fold` but none of `patient_id`")
    members: dict[str, list[str]] = {}
    for row in rows:
        fold, patient = ((row[name] or "").strip() for name in ("fold", "patient_id"))
        members.setdefault(fold, []).append(patient)
    if "" in members:
        raise RequestError(f"{uri} has {len(members[''])} row(s) without a fold")
    if len(members) < 2:
        raise RequestError(f"{uri} has one fold: nothing is left to train on")
    _refuse_spanning(members, f"of {uri}")
    return {
        fold: {"train": [p for other in members if other != fold for p in members[other]],
               "test": members[fold]}
        for fold in sorted(members)
    }  # fmt: skip


def _cells(rows: Sequence[Mapping[str, str]], column: str) -> list[str]:
    return [name for name in ((row[column] or "").strip() for row in rows) if name]


def _resolve(
    written: Mapping[str, Written], cohort: ClinicalCohort
) -> tuple[dict[str, Given], list[str]]:
    """Patients of the cohort for ids of slides or patients, and the ids that are neither."""
    owner = dict(zip(cohort.slide_ids, cohort.patient_ids, strict=True))
    owner |= {patient: patient for patient in cohort.patient_ids}

    def patient(name: str) -> str | None:
        bare = storage.stem(name) if suffix(name) in EXTENSIONS else name
        return owner.get(name, owner.get(bare))

    given = {
        fold: {part: {p for p in map(patient, ids) if p} for part, ids in parts.items()}
        for fold, parts in written.items()
    }
    for fold, parts in given.items():
        _refuse_spanning(parts, f"of fold {fold}")
    ids = {name for parts in written.values() for part in parts.values() for name in part}
    return given, sorted(name for name in ids if patient(name) is None)


def _refuse_spanning(parts: Mapping[str, Iterable[str]], where: str) -> None:
    seen: dict[str, str] = {}
    for part, patients in parts.items():
        for patient in sorted(set(patients)):
            if seen.setdefault(patient, part) != part:
                raise RequestError(
                    f"patient {patient} is in {seen[patient]} and in {part} {where}: "
                    "a patient must be on one side of a split"
                )


def _with_validation(
    given: Mapping[str, Given], cohort: ClinicalCohort, share: float, seed: int
) -> dict[str, Given]:
    complete: dict[str, Given] = {}
    for number, (name, parts) in enumerate(given.items()):
        if "validation" not in parts and parts["train"]:
            rng = np.random.default_rng([seed, number])
            train, held_out = hold_out_validation(cohort.strata(), parts["train"], share, rng)
            parts = parts | {"train": set(train), "validation": set(held_out)}
        empty = [part for part in PARTS if not parts.get(part)]
        if empty:
            raise RequestError(f"fold {name} has no patient of this cohort in {some(empty)}")
        complete[name] = parts
    return complete


def _folds(given: Mapping[str, Given]) -> tuple[Fold, ...]:
    tested = [patient for parts in given.values() for patient in parts["test"]]
    once = len(tested) == len(set(tested))
    return tuple(
        Fold(name, 0 if once else number, *(tuple(sorted(parts[part])) for part in PARTS))
        for number, (name, parts) in enumerate(given.items())
    )


def _notes(
    given: Mapping[str, Given], unknown: Sequence[str], cohort: ClinicalCohort
) -> Iterable[str]:
    if unknown:
        yield f"{len(unknown)} id(s) of the splits are not in the cohort: {some(unknown)}"
    placed = {patient for parts in given.values() for part in parts.values() for patient in part}
    homeless = sorted(set(cohort.patient_ids) - placed)
    if homeless:
        yield f"{len(homeless)} patient(s) of the cohort are in no fold: {some(homeless)}"
    strata = cohort.strata()
    for name, parts in given.items():
        for part in PARTS:
            lacking = short_of(strata, np.flatnonzero(np.isin(strata.patients, list(parts[part]))))
            if lacking:
                yield f"fold {name} has no patient of {some(lacking)} in {part}"
