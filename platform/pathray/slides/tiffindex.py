"""What is parsed of a TIFF slide when it is opened, kept for the next opening of the same file."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathray.slides.ranges import RangeReader
from pathray.slides.tiffdecode import SIZ_BYTES, Decoder, check_jpeg2000, tile_decoder
from pathray.slides.tiffdirectory import TiffFile, Unsupported
from pathray.slides.tiffpyramid import J2K_RGB, J2K_YCBCR, Level, Pyramid, read_pyramid
from pathray.slides.tiletable import TileTable, any_left_out

KEPT_INDEXES = 8
"""Pieces of a slide come to the same process one after another."""


@dataclass(frozen=True)
class TiffIndex:
    """The levels of a slide, where their tiles lie and how they are decoded."""

    pyramid: Pyramid
    tables: tuple[TileTable, ...]
    decoders: tuple[Decoder, ...]


_indexes: OrderedDict[tuple[str, int, str, str], TiffIndex] = OrderedDict()
_indexes_lock = threading.Lock()


def index_of(source: RangeReader, options: Mapping[str, Any] | None) -> TiffIndex:
    """The parsed index of a file, from this process's memory where the file is the same."""
    if source.version is None:
        return _parse(source)
    key = (source.uri, source.size, source.version, repr(options))
    with _indexes_lock:
        if key in _indexes:
            _indexes.move_to_end(key)
            return _indexes[key]
    index = _parse(source)
    with _indexes_lock:
        _indexes[key] = index
        while len(_indexes) > KEPT_INDEXES:
            _indexes.popitem(last=False)
    return index


def _parse(source: RangeReader) -> TiffIndex:
    pyramid = read_pyramid(TiffFile(source), source.uri)
    for level in pyramid.levels:
        for table in (level.offsets, level.byte_counts):
            if table.offset + table.count * np.dtype(table.dtype).itemsize > source.size:
                raise Unsupported(f"{source.uri}: a tile table is cut short")
    tables = tuple(TileTable(level.offsets, level.byte_counts) for level in pyramid.levels)
    # Where an Aperio scanner left a tile out, the tiles over it in the coarser levels are
    # often corrupt; OpenSlide draws those anew from the finer level.
    if pyramid.vendor == "aperio" and len(tables) > 1 and any_left_out(source, tables):
        raise Unsupported(f"{source.uri}: an Aperio slide with tiles left out")
    try:
        decoders = tuple(tile_decoder(level) for level in pyramid.levels)
        if pyramid.levels[0].compression in (J2K_RGB, J2K_YCBCR):
            _check_first_tile(source, pyramid.levels[0], tables[0])
    except ValueError as error:
        raise Unsupported(f"{source.uri}: {error}") from error
    return TiffIndex(pyramid, tables, decoders)


def _check_first_tile(source: RangeReader, level: Level, table: TileTable) -> None:
    """Only the tiles say whether their chroma is subsampled, which imagecodecs cannot decode."""
    offset = int(table.locate(source, np.array([0]))[0][0])
    if not 0 < offset <= source.size - SIZ_BYTES:
        raise ValueError("the first tile is left out")
    check_jpeg2000(source.read(offset, offset + SIZ_BYTES), level)
