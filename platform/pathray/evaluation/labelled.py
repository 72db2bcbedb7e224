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
            tiles = list(pool.map(lambda uri: read_tile(uri, "--probe"), self.uris))
        for uri, tile in zip(self.uris, tiles, strict=True):
            if tile.shape != tiles[0].shape:
                sides = " and ".join(f"{t.shape[1]} x {t.shape[0]}" for t in (tiles[0], tile))
                raise RequestError(f"--probe: tiles of different sizes, {sides} ({uri})")
        return np.stack(tiles)


def find_labelled(uri: str, flag: str = "--probe") -> LabelledTiles:
    """The tiles of a table (CSV: path, label, group), or of a folder: those of its `labels.csv`,
    or a folder a class.

    Paths are relative to the table. Without a column `group`, and in folders, each tile is a
    group of its own. RequestError, which names the flag, when there are none, or of one label.
    """
    try:
        table = uri if uri.endswith(".csv") else storage.join(uri, TABLE)
        rows = _listed(table) if storage.exists(table) else _foldered(uri)
    except PathrayError as error:
        raise RequestError(f"{flag}: {error}") from error
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"{flag}: {storage.reason(uri, error)}") from error
    if len({label for _, label, _ in rows}) < 2:
        raise RequestError(f"{flag}: {uri} holds no {TABLE} and no tiles in two folders or more")
    uris, labels, groups = zip(*rows, strict=True)
    return LabelledTiles(uris, np.array(labels), np.array(groups))


def find_tiles(uri: str) -> tuple[str, ...]:
    """The tiles of a table (CSV with a column path), or all below a folder, whatever they are.

    Paths are relative to the table. RequestError, which names `--tiles`, when there are none.
    """
    try:
        if uri.endswith(".csv"):
            rows, base = _rows(uri), storage.parent(uri)
            if rows and "path" not in rows[0]:
                raise RequestError(f"{uri} needs the column path")
            found = tuple(dict.fromkeys(storage.join(base, row["path"]) for row in rows))
        else:
            entries = storage.list_objects(uri)
            found = tuple(e.uri for e in entries if e.name.lower().endswith(IMAGES))
    except PathrayError as error:
        raise RequestError(f"--tiles: {error}") from error
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--tiles: {storage.reason(uri, error)}") from error
    if not found:
        raise RequestError(f"--tiles: {uri} holds no tiles ({', '.join(IMAGES)})")
    return found


def _rows(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(storage.read_bytes(table).decode("utf-8-sig"))))


def _listed(table: str) -> list[tuple[str, str, str]]:
    base, rows = storage.parent(table), _rows(table)
    if rows and not {"path", "label"} <= set(rows[0]):
        raise RequestError(f"{table} needs the columns path and label")
    return [
        (storage.join(base, row["path"]), row["label"], row.get("group") or row["path"])
        for row in rows
    ]


def _foldered(uri: str) -> list[tuple[str, str, str]]:
    return [
        (entry.uri, storage.parent(entry.uri).rsplit("/", 1)[-1], entry.uri)
        for entry in storage.list_objects(uri)
        if entry.name.lower().endswith(IMAGES) and storage.parent(entry.uri) != uri.rstrip("/")
    ]


def read_tile(uri: str, flag: str = "--tiles") -> Pixels:
    """One tile, uint8 (H, W, 3); RequestError, which names the flag, when it cannot be read."""
    try:
        return decode_image(storage.read_bytes(uri))
    except TileError as error:
        raise RequestError(f"{flag}: {uri}: {error}") from error
    except Exception as error:
        raise RequestError(f"{flag}: {storage.reason(uri, error)}") from error
