"""`.h5` of CLAM and TRIDENT: `features` (N, D) or (1, N, D), and `coords` (N, 2)."""

from collections.abc import Iterator
from contextlib import contextmanager

import h5py

from pathray import storage
from pathray.mil.formats.bag import CHUNK, Made, OpenBag, Rows


@contextmanager
def open_h5(uri: str) -> Iterator[OpenBag]:
    """The bag in a feature file. TRIDENT writes the tile's side beside the coordinates.

    Raises ValueError when there are no features of tiles.
    """
    with storage.open_for_reading(uri) as raw, h5py.File(raw, "r") as file:
        if "features" not in file:
            raise ValueError(f"it has no `features` (it has: {', '.join(file) or 'nothing'})")
        features, coords = file["features"], file.get("coords")
        if features.ndim not in (2, 3) or (features.ndim == 3 and features.shape[0] != 1):
            raise ValueError(f"its features are {features.shape}, not (tiles, width)")
        count, dim = features.shape[-2:]
        if coords is not None and coords.shape[-2:] != (count, 2):
            raise ValueError(f"it has {count} features and {coords.shape} coordinates")
        size = None if coords is None else coords.attrs.get("patch_size")
        made = Made(dim, tile_size=None if size is None else int(size))
        has = coords is not None
        yield OpenBag(count, made if count else None, has, _chunks(features, coords))


def _chunks(features: h5py.Dataset, coords: h5py.Dataset | None) -> Iterator[Rows]:
    for start in range(0, features.shape[-2], CHUNK):
        rows = slice(start, start + CHUNK)
        yield Rows(_rows(features, rows), None if coords is None else _rows(coords, rows))


def _rows(dataset: h5py.Dataset, rows: slice):  # type: ignore[no-untyped-def]
    return dataset[0, rows] if dataset.ndim == 3 else dataset[rows]
