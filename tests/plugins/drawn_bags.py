"""A small cohort of drawn embeddings: the tiles of one class stand out, and it dies sooner."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pathray.clinical.cohort import ClinicalCohort
from pathray.embeddings import Embeddings, write_embeddings
from pathray.evaluation.labels import Labels
from pathray.metadata import Metadata
from pathray.survival.followup import FollowUp

CLASSES = ("glandular", "solid")
DIM = 16
IDENTITY = {"encoder_digest": "e" * 64, "mpp": 0.5, "tile_size": 224}


@dataclass(frozen=True)
class Drawn:
    """`embeddings`, a folder; `table`, a CSV; the same as clinical cohorts."""

    embeddings: Path
    table: Path
    labelled: ClinicalCohort
    followed: ClinicalCohort


def draw_cohort(folder: Path, patients: int = 40, signal: float = 4.0, seed: int = 0) -> Drawn:
    """Every third patient has two slides; a fifth of the tiles of `solid` ones carry the signal."""
    rng = np.random.default_rng(seed)
    embeddings = folder / "emb"
    embeddings.mkdir(parents=True)
    rows = []
    for number in range(patients):
        solid = number % 2
        death, left = rng.exponential(100 if solid else 2000), rng.uniform(200, 3000)
        for slide in range(2 if number % 3 == 0 else 1):
            name = f"P{number:03}-{slide}"
            write_bag(embeddings, name, tiles(rng, solid * signal))
            followed = (round(min(death, left) + 1, 1), int(death <= left))
            rows.append((name, f"P{number:03}", CLASSES[solid], *followed))
    table = folder / "cohort.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("slide_id", "patient_id", "subtype", "time", "event"), *rows])
    slides, people, labels, times, events = zip(*rows, strict=True)
    values = np.array([CLASSES.index(label) for label in labels])
    return Drawn(
        embeddings,
        table,
        ClinicalCohort(slides, people, Labels(values, CLASSES)),
        ClinicalCohort(slides, people, FollowUp.of(times, events)),
    )


def draw_shares(folder: Path, patients: int = 90, seed: int = 0) -> ClinicalCohort:
    """A bag a patient into `folder`; the larger the share of tiles that stand out, the sooner
    the death (55 times, between none and all); nearly all are followed until it."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for number in range(patients):
        share, count = rng.uniform(), int(rng.integers(40, 120))
        death, left = rng.exponential(1000 * np.exp(-4 * share)), rng.uniform(100, 4000)
        drawn = rng.normal(size=(count, DIM))
        drawn[: round(share * count), :4] += 2
        write_bag(folder, f"P{number:03}-0", drawn.astype(np.float16))
        rows.append((f"P{number:03}-0", f"P{number:03}", min(death, left) + 1, death <= left))
    slides, people, times, events = zip(*rows, strict=True)
    return ClinicalCohort(slides, people, FollowUp.of(times, events))


def tiles(rng: np.random.Generator, signal: float) -> np.ndarray:
    """(10..40, DIM) float16."""
    drawn = rng.normal(size=(int(rng.integers(10, 40)), DIM))
    drawn[: len(drawn) // 5, 0] += signal
    return drawn.astype(np.float16)


def write_bag(folder: Path, slide_id: str, vectors: np.ndarray, **identity: object) -> None:
    """An object as `pathray embed` writes it; tiles lie in a row."""
    count, dim = vectors.shape
    metadata = Metadata({**IDENTITY, **identity}, {"encoder": "drawn"})
    bag = Embeddings(
        x=np.arange(count, dtype=np.int32) * 224,
        y=np.zeros(count, np.int32),
        tissue=np.ones(count, np.float32),
        vectors=vectors,
        metadata=metadata,
    )
    write_embeddings(folder / f"{slide_id}.parquet", [bag] if count else [], dim, metadata)
