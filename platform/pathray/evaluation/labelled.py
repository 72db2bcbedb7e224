"""Tiles with labels, to probe an encoder with."""

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray import storage
from pathray.errors import PathrayError, RequestError, TileError
from pathray.slides.reader import Pixels
from pathray.tilestore import decode_image

TABLE = "labels.csv"
IMAGES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class LabelledTiles:
    """N tiles: `uris`, `labels` (N,) str, `groups` (N,) str.

    Tiles of one group (a patient, a slide, copies of one image) belong together: they are
    never on both sides of a split.
    """

    uris: tuple[str, ...]
    labels: NDArray[np.str_]
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.uris)

    def read(self) -> Pixels:
        """All tiles, uint8 (N, H, W, 3). RequestError when sizes differ or one is damaged."""
        with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
            tiles = list(pool.map(_read_tile, self.uris))
        for uri, tile in zip(self.uris, tiles, strict=True):
            if tile.shape != tiles[0].shape:
                sides = " and ".join(f"{t.shape[1]} x {t.shape[0]}" for t in (tiles[0], tile))
                raise RequestError(f"--probe: tiles of different sizes, {sides} ({uri})")
        return np.stack(tiles)


def find_labelled(uri: str) -> LabelledTiles:
    """The tiles of a folder: those of its `labels.csv` (path, label, group), or a folder a class.

    Without a column `group`, and in folders, each tile is a group of its own. RequestError
    when there are none, or of one label only.
    """
    try:
        table = storage.join(uri, TABLE)
        rows = _listed(uri, table) if storage.exists(table) else _foldered(uri)
    except PathrayError:
        raise
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--probe: {storage.reason(uri, error)}") from error
    if len({label for _, label, _ in rows}) < 2:
        raise RequestError(f"--probe: {uri} holds no {TABLE} and no tiles in two folders or more")
    uris, labels, groups = zip(*rows, strict=True)
    return LabelledTiles(uris, np.array(labels), np.array(groups))


def _listed(uri: str, table: str) -> list[tuple[str, str, str]]:
    rows = list(csv.DictReader(io.StringIO(storage.read_bytes(table).decode("utf-8-sig"))))
    if rows and not {"path", "label"} <= set(rows[0]):
        raise RequestError(f"--probe: {table} needs the columns path and label")
    return [
        (storage.join(uri, row["path"]), row["label"], row.get("group") or row["path"])
        for row in rows
    ]


def _foldered(uri: str) -> list[tuple[str, str, str]]:
    return [
        (entry.uri, storage.parent(entry.uri).rsplit("/", 1)[-1], entry.uri)
        for entry in storage.list_objects(uri)
        if entry.name.lower().endswith(IMAGES) and storage.parent(entry.uri) != uri.rstrip("/")
    ]


def _read_tile(uri: str) -> Pixels:
    try:
        return decode_image(storage.read_bytes(uri))
    except TileError as error:
        raise RequestError(f"--probe: {uri}: {error}") from error
    except Exception as error:
        raise RequestError(f"--probe: {storage.reason(uri, error)}") from error
