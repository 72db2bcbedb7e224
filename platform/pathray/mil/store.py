"""A cohort's embeddings in one memory-mapped file on the node, shared by all who train there.

    vectors.f16      float16 (T, D), the slides one behind the other, sorted by slide_id
    coordinates.i32  int32 (T, 2), x, y in level-0 pixels, where the files have them
    store.json       slide ids, offsets, and how the embeddings were made

It is built once, streaming, under a name made of the objects' URIs, sizes and versions: an
object that changes makes another store, and what nobody uses may be evicted.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathray.errors import RequestError
from pathray.localcache import LocalCache, default_folder
from pathray.mil.bagfiles import BagFile
from pathray.mil.formats.bag import Made
from pathray.mil.packing import COORDINATES, DESCRIPTION, VECTORS, Packing

FORMAT = 1
FOLDER = "bags"


@dataclass(frozen=True)
class BagStore:
    """The packed embeddings of a cohort. Slide i is rows offsets[i] to offsets[i + 1]."""

    folder: Path
    slide_ids: tuple[str, ...]
    offsets: tuple[int, ...]
    made: Made
    has_coordinates: bool

    @cached_property
    def vectors(self) -> NDArray[np.float16]:
        """(T, D), mapped: what is read is shared with all processes of the node."""
        return self._mapped(VECTORS, np.dtype(np.float16), self.made.dim)

    @cached_property
    def coordinates(self) -> NDArray[np.int32] | None:
        """(T, 2) x, y in level-0 pixels; None where the files have none."""
        if not self.has_coordinates:
            return None
        return self._mapped(COORDINATES, np.dtype(np.int32), 2)

    @property
    def empty(self) -> tuple[str, ...]:
        """The slides without tiles."""
        counts = np.diff(self.offsets)
        return tuple(s for s, n in zip(self.slide_ids, counts, strict=True) if n == 0)

    def _mapped(self, name: str, dtype: np.dtype, width: int) -> NDArray:  # type: ignore[type-arg]
        shape = (self.offsets[-1], width)
        if not shape[0]:
            return np.empty(shape, dtype)
        # Copy on write, because torch takes no read-only array; nothing writes.
        return np.memmap(self.folder / name, dtype, "c", shape=shape)


@contextmanager
def open_bag_store(
    files: Sequence[BagFile], limit_bytes: int, folder: Path | None = None
) -> Iterator[BagStore]:
    """The store of these bags, built if this node has none, kept while the block runs.

    `folder` is the node's cache (default: `default_folder()`) and `limit_bytes` what all
    stores in it may take. Processes that ask at once build one. Raises RequestError that names
    the slide for a damaged file, an embedding that is not finite, or bags made in different
    ways; and when the cohort is larger than the cache.
    """
    packing = Packing(files)
    cache = LocalCache(
        (folder or default_folder()) / FOLDER, limit_bytes, "packed cohort", RequestError
    )
    with cache.lease(_key(files), lambda: packing.plan.size, packing.write) as entry:
        yield _opened(entry)


def _key(files: Sequence[BagFile]) -> str:
    lines = [f"format {FORMAT}"]
    for file in sorted(files, key=lambda file: file.slide_id):
        source = file.entry.source
        lines.append(f"{file.slide_id} {file.entry.uri} {source.size} {source.version}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]


def _opened(entry: Path) -> BagStore:
    described: Mapping[str, object] = json.loads((entry / DESCRIPTION).read_text())
    return BagStore(
        folder=entry,
        slide_ids=tuple(described["slide_ids"]),  # type: ignore[arg-type]
        offsets=tuple(described["offsets"]),  # type: ignore[arg-type]
        made=Made(**described["made"]),  # type: ignore[arg-type]
        has_coordinates=bool(described["has_coordinates"]),
    )
