"""Reading the clinical table for training: joined, checked, and what was left out said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pathray.clinical.cohort import ClinicalCohort
from pathray.clinical.joining import Joined, JoinedOn, LeftOut, Match, join
from pathray.clinical.targets import LeaveOut, Row, Target, Value
from pathray.cohort import read_table
from pathray.errors import PathrayError, RequestError, some
from pathray.storage import absolute, reason


@dataclass(frozen=True)
class ClinicalData:
    """The cohort to train on and what a person should be told of how it came about.

    `joined_on` says by which key rows and embeddings met; `left_out` what is not used and why;
    `warnings` what looks wrong. Each of them is one line as text.
    """

    cohort: ClinicalCohort
    joined_on: JoinedOn
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]


def read_clinical(
    table: str,
    target: Target,
    embedded: Mapping[str, str | None],
    patient_id: str = "patient_id",
) -> ClinicalData:
    """The rows of a CSV or Parquet table that speak of embedded slides.

    `embedded` maps the slide_ids that have embeddings to the patient these know of, or None;
    `patient_id` is the column of patients, `tcga` (the barcode's first 12 characters) or
    `slide` (each slide its own). Rows without a label, or whose time is missing or not
    positive, are left out. RequestError in one line for everything else that is wrong.
    """
    rows = read_cohort_table(table)
    try:
        return clinical_data(rows, target, embedded, patient_id)
    except PathrayError as error:
        raise RequestError(f"--cohort: {error}") from error


def read_cohort_table(table: str) -> Sequence[Row]:
    """The rows of a CSV or Parquet table; RequestError, which names `--cohort`, when it cannot be
    read."""
    try:
        return read_table(absolute(table))
    except PathrayError as error:
        raise RequestError(f"--cohort: {error}") from error
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--cohort: {reason(table, error)}") from error


def clinical_data(
    rows: Sequence[Row],
    target: Target,
    embedded: Mapping[str, str | None],
    patient_id: str = "patient_id",
) -> ClinicalData:
    """As `read_clinical`, from rows that are read already."""
    _check_columns(rows, target)
    joined = join(rows, embedded, patient_id)
    values, left_out = _values(joined, target)
    if not values:
        raise RequestError(f"no row is left to train on: {'; '.join(map(str, left_out))}")
    _refuse_conflicts(values, target)
    # By patient a slide may have met several rows; they agree, so any will do.
    chosen = {match.slide_id: (match.patient_id, value) for match, value in values}
    slide_ids = tuple(sorted(chosen))
    gathered, warnings = target.gather([chosen[slide][1] for slide in slide_ids])
    patients = tuple(chosen[slide][0] for slide in slide_ids)
    cohort = ClinicalCohort(slide_ids, patients, gathered)
    return ClinicalData(cohort, joined.on, (*joined.left_out, *left_out), tuple(warnings))


def _check_columns(rows: Sequence[Row], target: Target) -> None:
    if not rows:
        raise RequestError("the table has no rows")
    for column, flag in target.columns.items():
        if column not in rows[0]:
            raise RequestError(
                f"the table has no column `{column}` (it has: {some(rows[0], 20)}); "
                f"name the right one with {flag}"
            )


def _values(joined: Joined, target: Target) -> tuple[list[tuple[Match, Value]], list[LeftOut]]:
    """The target of each match, and the slides whose rows say nothing, by reason."""
    values: list[tuple[Match, Value]] = []
    silent: dict[str, set[str]] = {}
    for match in joined.matches:
        try:
            values.append((match, target.value(match.row)))
        except LeaveOut as left:
            silent.setdefault(str(left), set()).add(match.slide_id)
        except RequestError as error:
            raise RequestError(f"{match.slide_id}: {error}") from error
    used = {match.slide_id for match, _ in values}
    found = [LeftOut("slide(s)", tuple(sorted(ids - used)), why) for why, ids in silent.items()]
    return values, [each for each in found if each.ids]


def _refuse_conflicts(values: Sequence[tuple[Match, Value]], target: Target) -> None:
    said: dict[str, set[Value]] = {}
    for match, value in values:
        said.setdefault(match.patient_id, set()).add(value)
    torn = sorted(patient for patient, several in said.items() if len(several) > 1)
    if torn:
        raise RequestError(f"{len(torn)} patient(s) {target.conflict()}: {some(torn)}")
