"""An invented cohort that is quick to make and real to read: slides, patients, follow-up.

Two subtypes, `glandular` (many glands, few nuclei between them) and `solid` (few glands,
crowded nuclei); the crowded tumours kill sooner. What a model finds in it says that the
pipeline works, and nothing about any disease.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pathray.slides.pyramid import write_pyramid
from pathray.synthetic_slide import MPP, SlideRecipe, draw_slide

SUBTYPES = ("glandular", "solid")
COLUMNS = ("slide", "slide_id", "patient_id", "subtype", "time", "event")
DENSITY = {"glandular": 1200.0, "solid": 5200.0}
"""Mean nuclei per mm² outside glands; patients scatter around it by about 15%."""
GLAND_SHARE = {"glandular": 0.5, "solid": 0.06}
MEAN_SURVIVAL = {"glandular": 2000.0, "solid": 350.0}
"""Days at the subtype's mean density: times are exponential, as under constant hazard."""
HAZARD_PER_DENSITY = 3.0
"""The hazard grows with (a patient's density / the subtype's mean) to this power."""
FOLLOW_UP = (400.0, 3000.0)
"""Days after which a patient is censored, uniform between these."""
NEARLY_GLASS = 0.06


@dataclass(frozen=True)
class Patient:
    """One invented patient; `time` in days, `event` 1 = death seen, 0 = censored."""

    patient_id: str
    subtype: str
    density: float
    time: float
    event: int
    slides: int


def make_cohort(folder: str | Path, patients: int = 10, seed: int = 0) -> Path:
    """Write the slides and `cohort.csv` into `folder`; returns the path of the table.

    Every third patient has two slides. The first slide carries a blue pen mark, the last is
    nearly all glass. Slides are pyramidal TIFFs of 0.5 µm a pixel, some 4,000 pixels wide,
    written as absolute paths in the table. The same seed gives the same bytes.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str | float | int, ...]] = []
    people = invent_patients(patients, seed)
    total = sum(patient.slides for patient in people)
    for index, patient in enumerate(people):
        for number in range(1, patient.slides + 1):
            rng = np.random.default_rng([seed, index, number])
            slide_id = f"{patient.patient_id}-{number}"
            recipe = _recipe(patient, rng, first=not rows, last=len(rows) == total - 1)
            pixels, _ = draw_slide(recipe, rng)
            write_pyramid(folder / f"{slide_id}.tif", pixels, MPP)
            rows.append((str(folder / f"{slide_id}.tif"), slide_id, *_clinical(patient)))
    table = folder / "cohort.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return table


def invent_patients(count: int, seed: int) -> list[Patient]:
    """`count` patients, their subtypes in turn, their survival by their nuclear density."""
    rng = np.random.default_rng([seed, count])
    people = []
    for index in range(count):
        subtype = SUBTYPES[index % 2]
        crowding = float(np.exp(rng.normal(0, 0.15)))
        survival = rng.exponential(MEAN_SURVIVAL[subtype] / crowding**HAZARD_PER_DENSITY)
        follow_up = rng.uniform(*FOLLOW_UP)
        people.append(
            Patient(
                patient_id=f"P{index + 1:02d}",
                subtype=subtype,
                density=DENSITY[subtype] * crowding,
                time=round(max(1.0, min(survival, follow_up)), 1),
                event=int(survival <= follow_up),
                slides=2 if index % 3 == 1 else 1,
            )
        )
    return people


def _clinical(patient: Patient) -> tuple[str, str, float, int]:
    return (patient.patient_id, patient.subtype, patient.time, patient.event)


def _recipe(patient: Patient, rng: np.random.Generator, first: bool, last: bool) -> SlideRecipe:
    return SlideRecipe(
        width=int(rng.integers(3800, 4600)),
        height=int(rng.integers(3300, 4200)),
        density=patient.density,
        gland_share=GLAND_SHARE[patient.subtype],
        tissue_share=NEARLY_GLASS if last else float(rng.uniform(0.4, 0.6)),
        pen="blue" if first else None,
    )
