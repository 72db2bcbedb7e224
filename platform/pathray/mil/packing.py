"""Writing a packed cohort: read every bag's header, then copy their rows side by side.

Memory is bounded by the threads: each holds one chunk of one slide.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathray import storage
from pathray.errors import PathrayError, RequestError, one_line
from pathray.metadata import first_difference
from pathray.mil.bagfiles import BagFile
from pathray.mil.formats import OPENERS
from pathray.mil.formats.bag import Made, OpenBag

VECTORS, COORDINATES, DESCRIPTION = "vectors.f16", "coordinates.i32", "store.json"
COPIERS = 4
"""Slides copied at a time: enough to hide a store's latency, few enough to bound memory."""


@dataclass(frozen=True)
class Plan:
    """Where each bag's rows will lie. `offsets` has one entry more than `files`."""

    files: tuple[BagFile, ...]
    offsets: tuple[int, ...]
    made: Made
    has_coordinates: bool

    @property
    def size(self) -> int:
        """Bytes of the packed cohort."""
        width = self.made.dim * 2 + (8 if self.has_coordinates else 0)
        return self.offsets[-1] * width


class Packing:
    """One cohort to be packed. Nothing is read before `plan` is asked for."""

    def __init__(self, files: Sequence[BagFile]) -> None:
        self._files = tuple(sorted(files, key=lambda file: file.slide_id))

    @cached_property
    def plan(self) -> Plan:
        """From the headers alone. Raises RequestError for bags made in different ways."""
        with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
            bags = list(pool.map(_header, self._files))
        known = [(file, bag.made) for file, bag in zip(self._files, bags, strict=True) if bag.made]
        if not any(bag.rows for bag in bags):
            raise RequestError(f"--embeddings: none of the {len(bags)} bags holds a tile")
        _refuse_mixture(known)
        return Plan(
            self._files,
            tuple(accumulate((bag.rows for bag in bags), initial=0)),
            known[0][1],
            all(bag.has_coordinates for bag in bags if bag.rows),
        )

    def write(self, folder: Path) -> None:
        """Write the store's files. Raises RequestError for bad rows, or when a file changed."""
        plan = self.plan
        with (
            _file(folder / VECTORS) as vectors,
            _file(folder / COORDINATES) as coordinates,
            ThreadPoolExecutor(COPIERS) as pool,
        ):
            copies = [
                pool.submit(_copy, file, plan, start, vectors, coordinates)
                for file, start in zip(plan.files, plan.offsets, strict=False)
            ]
            try:
                for copy in copies:
                    copy.result()
            finally:
                pool.shutdown(cancel_futures=True)
        _refuse_changed(plan.files)
        (folder / DESCRIPTION).write_text(json.dumps(_description(plan)))


def _description(plan: Plan) -> dict[str, object]:
    return {
        "slide_ids": [file.slide_id for file in plan.files],
        "offsets": plan.offsets,
        "made": asdict(plan.made),
        "has_coordinates": plan.has_coordinates,
    }


def _header(file: BagFile) -> OpenBag:
    with opened(file) as bag:
        return replace(bag, chunks=iter(()))


@contextmanager
def opened(file: BagFile) -> Iterator[OpenBag]:
    try:
        with OPENERS[file.suffix](file.entry.uri) as bag:
            yield bag
    except PathrayError:
        raise
    except Exception as error:  # each format and store has its own
        raise RequestError(
            f"--embeddings: cannot read {file.entry.uri} of slide {file.slide_id}: "
            f"{one_line(error, 160)}"
        ) from error


def _copy(file: BagFile, plan: Plan, start: int, vectors: int, coordinates: int) -> None:
    with opened(file) as bag:
        for rows in bag.chunks:
            stored = _to_float16(rows.vectors, file)
            _write(vectors, stored, start)
            if plan.has_coordinates and rows.coordinates is not None:
                _write(coordinates, rows.coordinates.astype(np.int32), start)
            start += len(stored)
    expected = plan.offsets[plan.files.index(file) + 1]
    if start != expected:
        raise RequestError(f"--embeddings: {file.entry.uri} changed while it was read: run again")


def _write(descriptor: int, rows: NDArray, start: int) -> None:  # type: ignore[type-arg]
    data = np.ascontiguousarray(rows)
    view, place = data.view(np.uint8).reshape(-1).data, start * data.itemsize * data.shape[1]
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written


def _to_float16(vectors: NDArray[np.floating], file: BagFile) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(vectors, np.float16)
    # An exponent of all ones is infinite or no number; numpy's isfinite is slow in float16.
    odd = (stored.view(np.uint16) & 0x7C00) == 0x7C00
    if not odd.any():
        return stored
    what = "NaN or infinite" if not np.isfinite(vectors).all() else "beyond float16's 65504"
    raise RequestError(
        f"--embeddings: slide {file.slide_id} has embeddings that are {what} "
        f"({int(odd.any(axis=1).sum())} or more tiles): embed it again, or leave it out of "
        "the cohort"
    )


def _refuse_mixture(known: Sequence[tuple[BagFile, Made]]) -> None:
    first, made = known[0]
    for file, other in known[1:]:
        difference = first_difference(_how(made), _how(other))
        if difference:
            raise RequestError(
                f"--embeddings: slide {file.slide_id} was embedded in another way than "
                f"{first.slide_id} ({difference}, at {first.slide_id}): one folder, one way"
            )


def _how(made: Made) -> dict[str, object]:
    described = asdict(made)
    del described["encoder"]  # a name; the digest decides
    return described


def _refuse_changed(files: Sequence[BagFile]) -> None:
    """Listed again: what changed while it was copied may have been mixed."""
    folders = {storage.parent(file.entry.uri) for file in files}
    found = {
        entry.uri: entry.source
        for folder in folders
        for entry in storage.list_objects(folder, recursive=False)
    }
    for file in files:
        if found.get(file.entry.uri) != file.entry.source:
            raise RequestError(
                f"--embeddings: {file.entry.uri} changed while it was read: run again"
            )


@contextmanager
def _file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
