"""Which rows of the clinical table speak of which embedded slides, and whose they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pathray import storage
from pathray.barcode import is_barcode, tcga_patient
from pathray.clinical.targets import Row, cell
from pathray.errors import RequestError, some
from pathray.slides.companions import EXTENSIONS, suffix

SLIDE, TCGA = "slide", "tcga"
"""What `--patient-id` takes beside the name of a column."""

JoinedOn = Literal["slide_id", "patient_id"]


@dataclass(frozen=True)
class LeftOut:
    """Slides, patients or rows that are not used, and why."""

    what: str
    ids: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{len(self.ids)} {self.what} left out, {self.reason}: {some(self.ids)}"


@dataclass(frozen=True)
class Match:
    """An embedded slide, its patient and a row that speaks of it."""

    slide_id: str
    patient_id: str
    row: Row


@dataclass(frozen=True)
class Joined:
    """All matches, by which key they were made, and what matched nothing."""

    matches: tuple[Match, ...]
    on: JoinedOn
    left_out: tuple[LeftOut, ...]


def join(rows: Sequence[Row], embedded: Mapping[str, str | None], patient_id: str) -> Joined:
    """Match rows to embedded slides.

    `embedded`: slide_id to the patient the embeddings know, if any; `patient_id`: a column,
    `slide` or `tcga`. By slide_id where any agrees, with or without the slide's suffix; else
    by patient. Raises RequestError when patients are unknown, nothing matches, or a slide has
    two rows.
    """
    slides = [_slide_id(row, embedded) for row in rows]
    patients = [_patient(row, slide, patient_id) for row, slide in zip(rows, slides, strict=True)]
    if any(slide in embedded for slide in slides):
        return _by_slide(rows, slides, patients, embedded)
    return _by_patient(rows, patients, embedded, patient_id, slides)


def _slide_id(row: Row, embedded: Mapping[str, str | None]) -> str:
    """A row's slide, under the name its embeddings have; empty where it names none."""
    name = cell(row, "slide_id")
    if not name:
        return storage.stem(cell(row, "slide")) if cell(row, "slide") else ""
    stem = storage.stem(name) if suffix(name) in EXTENSIONS else name
    return stem if name not in embedded else name


def _patient(row: Row, slide: str, rule: str) -> str:
    if rule == SLIDE:
        if not slide:
            raise RequestError("--patient-id slide needs a column `slide_id` or `slide`, filled")
        return slide
    if rule == TCGA:
        return tcga_patient(slide or cell(row, "patient_id"))
    if rule not in row:
        raise RequestError(
            f"the cohort table has no column `{rule}` (it has: {some(row, 20)}): name the one that "
            "holds patients with --patient-id COLUMN, or say --patient-id tcga or slide"
        )
    if not cell(row, rule):
        raise RequestError(f"{slide or 'a row of the cohort table'} has no patient in `{rule}`")
    return cell(row, rule)


def _by_slide(
    rows: Sequence[Row],
    slides: Sequence[str],
    patients: Sequence[str],
    embedded: Mapping[str, str | None],
) -> Joined:
    twice = [slide for slide, count in Counter(slides).items() if slide and count > 1]
    if twice:
        raise RequestError(f"{len(twice)} slide(s) have several rows: {some(twice)}")
    found = zip(slides, patients, rows, strict=True)
    matches = tuple(Match(*each) for each in found if each[0] in embedded)
    strangers = [slide or "(no slide_id)" for slide in slides if slide not in embedded]
    return Joined(matches, "slide_id", _unmatched(matches, embedded, "slide(s)", strangers))


def _by_patient(
    rows: Sequence[Row],
    patients: Sequence[str],
    embedded: Mapping[str, str | None],
    rule: str,
    slides: Sequence[str],
) -> Joined:
    about: dict[str, list[Row]] = {}
    for patient, row in zip(patients, rows, strict=True):
        about.setdefault(patient, []).append(row)
    owners = {slide: _owner(slide, known, rule) for slide, known in embedded.items()}
    matches = tuple(
        Match(slide, owner, row)
        for slide, owner in owners.items()
        if owner
        for row in about.get(owner, [])
    )
    if not matches:
        _refuse_strangers(slides if any(slides) else patients, embedded, owners)
    met = {match.patient_id for match in matches}
    strangers = [patient for patient in about if patient not in met]
    return Joined(matches, "patient_id", _unmatched(matches, embedded, "patient(s)", strangers))


def _owner(slide: str, known: str | None, rule: str) -> str | None:
    if rule == TCGA:
        return tcga_patient(slide) if is_barcode(slide) else None
    return None if rule == SLIDE else known


def _refuse_strangers(
    names: Sequence[str], embedded: Mapping[str, str | None], owners: Mapping[str, str | None]
) -> None:
    unowned = "" if any(owners.values()) else " and the embeddings name no patients"
    raise RequestError(
        f"0 of the table's {len(names)} rows match the {len(embedded)} embedded slides{unowned}: "
        f"the table has {some(names, 3)}, the embeddings are {some(embedded, 3)}; give the table a "
        "column `slide_id` with the embeddings' names, or say --patient-id tcga"
    )


def _unmatched(
    matches: Sequence[Match],
    embedded: Mapping[str, str | None],
    what: str,
    strangers: Sequence[str],
) -> tuple[LeftOut, ...]:
    met = {match.slide_id for match in matches}
    rowless = [slide for slide in embedded if slide not in met]
    found = [
        LeftOut("embedded slide(s)", tuple(sorted(rowless)), "not in the cohort table"),
        LeftOut(f"{what} of the cohort table", tuple(sorted(strangers)), "without embeddings"),
    ]
    return tuple(each for each in found if each.ids)
