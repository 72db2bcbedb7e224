"""Contact sheets of a run over tiles: of each class the tiles told most surely, right and wrong.

`tiles_to_show` says which tiles to read; the page draws those that could be.
"""

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pathray.finetuning.result import RunResult
from pathray.report.predictions import PredictedClass, predicted_classes
from pathray.report.sheets import TILES, jpeg
from pathray.report.wording import number
from pathray.slides.reader import Pixels

CLASSES = 20
"""Classes that have a sheet: the page stays one that can be mailed."""


@dataclass(frozen=True)
class ClassTiles:
    """Tiles of one true class, at most 8 each, the surest first and one a group: copies of one
    image would fill a row."""

    name: str
    right: tuple[PredictedClass, ...]
    wrong: tuple[PredictedClass, ...]


@dataclass(frozen=True)
class TileRow:
    """A row of tiles on the page: what they are, what the models said of each, a JPEG."""

    name: str
    said: tuple[str, ...]
    picture: bytes


def tile_root(result: RunResult) -> str:
    """The folder below which all tested tiles lie, with its slash; empty where there is none."""
    tiles = [tile for fold in result.folds for tile in fold.tested_classes(result.classes).bags]
    # Not `commonpath`, which makes `s3:/` of `s3://`.
    folder, slash, _ = os.path.commonprefix(tiles).rpartition("/")  # noqa: RUF071
    return folder + slash


def tiles_to_show(result: RunResult) -> list[ClassTiles]:
    """Of the first 20 classes, in order."""
    rows = sorted(predicted_classes(result), key=lambda row: (-row.confidence, row.bag))
    return [
        ClassTiles(
            name,
            _one_a_group([row for row in rows if row.truth == name and row.right]),
            _one_a_group([row for row in rows if row.truth == name and not row.right]),
        )
        for name in result.classes[:CLASSES]
    ]


def _one_a_group(rows: Sequence[PredictedClass]) -> tuple[PredictedClass, ...]:
    first: dict[str, PredictedClass] = {}
    for row in rows:
        first.setdefault(row.patient, row)
    return tuple(first.values())[:TILES]


def tile_sheets(
    result: RunResult, pictures: Mapping[str, Pixels]
) -> list[tuple[str, list[TileRow]]]:
    """Each class with its rows, of the tiles that have a picture (uint8 RGB, any size)."""
    sheets = [(each.name, list(_rows(each, pictures))) for each in tiles_to_show(result)]
    return [(name, rows) for name, rows in sheets if rows]


def _rows(tiles: ClassTiles, pictures: Mapping[str, Pixels]) -> Iterator[TileRow]:
    for name, told in (("Recognised", tiles.right), ("Taken for another", tiles.wrong)):
        seen = [row for row in told if row.bag in pictures]
        if seen:
            right = name == "Recognised"
            said = tuple(number(r.confidence, 2) if right else _taken_for(r) for r in seen)
            yield TileRow(name, said, jpeg([pictures[row.bag] for row in seen]))


def _taken_for(row: PredictedClass) -> str:
    return f"{row.predicted} {number(row.confidence, 2)}"
