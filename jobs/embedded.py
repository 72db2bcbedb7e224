"""Whose the embedded slides are, as far as their folder knows."""

from collections.abc import Sequence

import pyarrow.parquet as pq

from pathray import outputs, storage
from pathray.mil.bagfiles import BagFile


def known_patients(embeddings: str, files: Sequence[BagFile]) -> dict[str, str | None]:
    """The patient of each embedded slide, from the index that `pathray embed` wrote, or None."""
    known: dict[str, str | None] = dict.fromkeys(file.slide_id for file in files)
    index = storage.join(storage.absolute(embeddings), outputs.INDEX)
    if storage.exists(index):
        with storage.open_for_reading(index) as file:
            rows = pq.read_table(file, columns=["slide_id", "patient_id"]).to_pylist()
        known |= {r["slide_id"]: r["patient_id"] for r in rows if r["slide_id"] in known}
    return known
