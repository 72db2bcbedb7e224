"""From the flags of `pathray predict` to bags that the model may be asked about."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import embed
from jobs.cluster import Capacity
from jobs.embedded import known_patients
from jobs.encoding import choose_encoder, choose_pool, describe
from jobs.flags import validate
from jobs.predict import Flags
from pathray.barcode import tcga_patient
from pathray.clinical.joining import join
from pathray.clinical.reading import read_cohort_table
from pathray.errors import RequestError
from pathray.mil.bagfiles import BagFile, find_bag_files
from pathray.mil.formats.bag import Made
from pathray.mil.packing import Packing
from pathray.slidemodel import SlideModel


@dataclass(frozen=True)
class Work:
    """A bag to predict: its files, and what its object's identity must be."""

    bag: str
    patient: str | None
    files: tuple[BagFile, ...]
    identity: Mapping[str, Any]


def settings_of(model: SlideModel) -> dict[str, Any]:
    """What an output folder is claimed for."""
    return {"kind": "predictions", "model_digest": model.digest}


def embed_flags(flags: Flags, model: SlideModel, out: str) -> embed.Flags:
    """How `--slides` are embedded: as the model's own embeddings were."""
    made = model.head.made
    if made.mpp is None or made.tile_size is None:
        raise RequestError(
            f"{flags.model} was trained on embeddings that do not say their mpp and tile size: "
            "embed the slides yourself and give --embeddings"
        )
    named = ("slides", "encoder", "weights", "random_init", "allow_pickle", "seed", "min_tissue")
    values = {name: getattr(flags, name) for name in (*named, "assume_mpp", "allow_upsample")}
    told = {k: v for k, v in values.items() if v is not None}
    return validate(embed.Flags, told | {"out": out, "mpp": made.mpp, "tile_size": made.tile_size})


def check_encoder(flags: embed.Flags, model: SlideModel, capacity: Capacity) -> None:
    """Before a slide is read: RequestError unless the encoder is the model's."""
    choice = choose_encoder(flags)
    told = describe(choice, choose_pool(flags, capacity))
    made = Made(told.dim, told.digest, flags.mpp, flags.tile_size, told.name)
    model.refuse_other(made, f"those of --encoder {flags.encoder}")


def works_of(flags: Flags, model: SlideModel, embeddings: str) -> list[Work]:
    """The bags of a folder of embeddings; RequestError when they are not the model's kind."""
    files = find_bag_files(embeddings)
    model.refuse_other(Packing(files).plan.made)
    patients = _patients(flags, model, embeddings, files)
    by_patient = model.head.level == "patient"
    held: dict[str, list[BagFile]] = {}
    for file in files:
        if file.slide_id in patients:
            bag = (patients[file.slide_id] or "") if by_patient else file.slide_id
            held.setdefault(bag, []).append(file)
    return [
        Work(bag, patients[mine[0].slide_id], tuple(mine), _identity(model, mine))
        for bag, mine in sorted(held.items())
    ]


def _patients(
    flags: Flags, model: SlideModel, embeddings: str, files: Sequence[BagFile]
) -> Mapping[str, str | None]:
    """The slides to predict, with their patients where these are known."""
    if flags.cohort is None and flags.patient_id == "slide":
        return {file.slide_id: file.slide_id for file in files}
    if flags.cohort is None and flags.patient_id == "tcga":
        return {file.slide_id: tcga_patient(file.slide_id) for file in files}
    known = known_patients(embeddings, files)
    if flags.cohort is not None:
        return _listed(flags, known, model.head.level == "patient")
    strangers = [slide for slide, patient in known.items() if patient is None]
    if strangers and model.head.level == "patient":
        raise RequestError(
            f"the model is of patients, and the patient of {strangers[0]} is not known: give "
            "--cohort, a table of slide_id and patient_id, or say --patient-id tcga, or "
            "--patient-id slide to take each slide for itself"
        )
    return known


def _listed(flags: Flags, known: Mapping[str, str | None], by_patient: bool) -> dict[str, str]:
    """The embedded slides that the table speaks of; what has no match is said."""
    rows = read_cohort_table(str(flags.cohort))
    needed = by_patient or any("patient_id" in row for row in rows)
    joined = join(rows, known, flags.patient_id or ("patient_id" if needed else "slide"))
    for left_out in joined.left_out:
        print(f"predict: {left_out}", file=sys.stderr, flush=True)
    return {match.slide_id: match.patient_id for match in joined.matches}


def _identity(model: SlideModel, files: Sequence[BagFile]) -> dict[str, Any]:
    sources = {file.slide_id: [file.entry.source.size, file.entry.source.version] for file in files}
    return {"format": 1, "model_digest": model.digest, "sources": sources}
