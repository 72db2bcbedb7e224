"""The curve of a run as small JSON-lines objects beside its checkpoints.

Each part is put before the checkpoint that ends it is committed, so what a resumed run
continues from is always there, and no step is there twice.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pathray import storage
from pathray.pretraining.checkpoints import store
from pathray.pretraining.events import Row

FOLDER = "_history"


def put_history(out: str, step: int, rows: Sequence[Row]) -> None:
    """Put the rows since the previous checkpoint as the part that ends at `step`.

    PathrayError when the store refuses again and again.
    """
    if rows:
        lines = "".join(json.dumps({"step": row.step, **row.values}) + "\n" for row in rows)
        uri = storage.join(out, FOLDER, f"{step:08d}.jsonl")
        store(f"the curve up to step {step}", uri, lambda: storage.put_bytes(uri, lines.encode()))


def read_history(out: str) -> list[dict[str, float]]:
    """All rows of a run in the order of their steps: `step`, `loss` and the other figures."""
    uris = [entry.uri for entry in storage.list_objects(storage.join(out, FOLDER))]
    with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
        parts = list(pool.map(storage.read_bytes, uris))
    rows = [json.loads(line) for part in parts for line in part.decode().splitlines()]
    # A part that a killed run put without its checkpoint is followed by the same steps again.
    return [row for _, row in sorted({row["step"]: row for row in rows}.items())]
