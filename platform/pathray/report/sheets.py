"""Contact sheets: the tiles that a model looked at most and least, of slides worth a look.

`slides_to_show` says which tiles to read; whoever can read them makes a `Sheet` of each slide.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pathray.contact_sheet import arranged
from pathray.finetuning.result import AttendedTile, FoldRecord, RunResult, SlideAttention
from pathray.report.protocol import time_unit
from pathray.report.wording import number
from pathray.slides.reader import Pixels

TILES = 8
"""Tiles of either end: a row of the page."""
SLIDES = 2
"""Slides of a class, or of high and of low risk; and of errors."""
JPEG_QUALITY = 85


@dataclass(frozen=True)
class ShownSlide:
    """A slide to show, why, and its most and least attended tiles (at most 8 each)."""

    slide_id: str
    patient_id: str
    group: str
    note: str
    most: tuple[AttendedTile, ...]
    least: tuple[AttendedTile, ...]


@dataclass(frozen=True)
class Sheet:
    """Pictures (uint8 RGB, any size) of the tiles of a slide, in their order; what could not be
    read is left out."""

    slide: ShownSlide
    most: Sequence[Pixels]
    least: Sequence[Pixels]


@dataclass(frozen=True)
class _Candidate:
    """A tested slide in its group; those of the highest `rank` are shown."""

    group: str
    rank: float
    note: str
    patient: str
    attention: SlideAttention


def slides_to_show(result: RunResult, patients: Mapping[str, str]) -> list[ShownSlide]:
    """Of each class the slides surest and right, then the surest errors; of survival the highest
    and the lowest risks. `patients` names the patient of each slide id.

    Empty where the run kept no attention.
    """
    candidates = [
        candidate
        for fold in result.folds
        for candidate in (_risks if result.task == "survival" else _classes)(result, fold, patients)
    ]
    groups = dict.fromkeys(_groups(result) + [candidate.group for candidate in candidates])
    return [_shown(each) for group in groups for each in _best(candidates, group)]


def _groups(result: RunResult) -> list[str]:
    """In the order of the page."""
    if result.task == "survival":
        return ["High risk", "Low risk"]
    return [f"{name}, recognised" for name in result.classes]


def _best(candidates: Sequence[_Candidate], group: str) -> list[_Candidate]:
    """One slide a patient."""
    ordered = sorted(
        (each for each in candidates if each.group == group),
        key=lambda each: (-each.rank, each.attention.slide_id),
    )
    first: dict[str, _Candidate] = {}
    for each in ordered:
        first.setdefault(each.patient, each)
    return list(first.values())[:SLIDES]


def _shown(candidate: _Candidate) -> ShownSlide:
    attention = candidate.attention
    return ShownSlide(
        attention.slide_id,
        candidate.patient,
        candidate.group,
        candidate.note,
        attention.most[:TILES],
        attention.least[:TILES],
    )


def _classes(
    result: RunResult, fold: FoldRecord, patients: Mapping[str, str]
) -> Iterator[_Candidate]:
    one = fold.tested_classes(result.classes)
    rows = {bag: row for row, bag in enumerate(one.bags)}
    for attention in fold.attention:
        patient = patients[attention.slide_id]
        row = rows[attention.slide_id if result.level == "slide" else patient]
        probabilities = one.probabilities[row]
        truth = result.classes[int(one.labels.values[row])]
        predicted = result.classes[int(probabilities.argmax())]
        sure = float(probabilities.max())
        right = truth == predicted
        yield _Candidate(
            group=f"{truth}, recognised" if right else "Surest errors",
            rank=sure,
            note=f"truly {truth}; {predicted} with probability {number(sure, 2)}",
            patient=patient,
            attention=attention,
        )


def _risks(
    result: RunResult, fold: FoldRecord, patients: Mapping[str, str]
) -> Iterator[_Candidate]:
    test = fold.tested_survival()
    one = test.predictions
    rows = {patient: row for row, patient in enumerate(one.patients)}
    unit = time_unit(result)
    for attention in fold.attention:
        patient = patients[attention.slide_id]
        row = rows[patient]
        above = float(one.risk[row]) - test.cut
        seen = "event" if one.follow_up.event[row] else "censored"
        side = "above" if above > 0 else "below"
        when = f"{seen} at {number(float(one.follow_up.time[row]), 1)} {unit}".rstrip()
        yield _Candidate(
            group="High risk" if above > 0 else "Low risk",
            rank=abs(above),
            note=f"{when}; risk {number(abs(above), 2)} {side} the cut",
            patient=patient,
            attention=attention,
        )


def jpeg(tiles: Sequence[Pixels]) -> bytes:
    """One row of tiles; JPEG, as tissue makes PNG ten times larger."""
    import cv2

    row = cv2.cvtColor(arranged(tiles, TILES), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])
