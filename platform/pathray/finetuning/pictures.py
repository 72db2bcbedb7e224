"""Pictures of attended tiles, out of the shards that `pathray tile` wrote."""

from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq

from pathray import storage
from pathray.errors import TileError
from pathray.finetuning.result import AttendedTile
from pathray.report.sheets import Sheet, ShownSlide
from pathray.slides.reader import Pixels
from pathray.tilestore import decode_image, parse_shard_name, shard_name

Place = tuple[int, int]


def read_sheets(tiles: str, slides: Sequence[ShownSlide]) -> list[Sheet]:
    """A sheet of each slide that has shards below the URI; tiles are found by their place."""
    wanted = {slide.slide_id for slide in slides}
    pieces: dict[str, list[str]] = {}
    for entry in storage.list_objects(tiles, recursive=False):
        parsed = parse_shard_name(entry.name)
        if parsed and parsed[0] in wanted:
            pieces.setdefault(parsed[0], []).append(shard_name(*parsed))
    sheets = []
    for slide in slides:
        shards = [storage.join(tiles, name) for name in pieces.get(slide.slide_id, [])]
        places = {(tile.x, tile.y) for tile in (*slide.most, *slide.least)}
        found = dict(pair for shard in shards for pair in _pictures(shard, places))
        if found:
            sheets.append(Sheet(slide, _shown(slide.most, found), _shown(slide.least, found)))
    return sheets


def _shown(tiles: Sequence[AttendedTile], found: dict[Place, Pixels]) -> list[Pixels]:
    return [found[tile.x, tile.y] for tile in tiles if (tile.x, tile.y) in found]


def _pictures(shard: str, places: set[Place]) -> Iterator[tuple[Place, Pixels]]:
    """The tiles of a shard at these places; only the row groups that hold one are read."""
    with storage.open_for_reading(shard) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            where = parquet.read_row_group(group, columns=["x", "y"])
            here = list(zip(where["x"].to_pylist(), where["y"].to_pylist(), strict=True))
            if places.isdisjoint(here):
                continue
            images = parquet.read_row_group(group, columns=["image"])["image"]
            for row, place in enumerate(here):
                if place in places:
                    try:
                        yield place, decode_image(images[row].as_py())
                    except TileError:  # a picture is not worth a report
                        continue
