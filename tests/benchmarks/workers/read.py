"""Reads level-0 squares of a slide in one of three ways: `read.py WAY SLIDE TILES.npy ROUNDS`."""

import sys

import numpy as np
import openslide
from numpy.typing import NDArray

from pathray.slides.tiff import TiffReader
from pathray.slides.tilestream import TileStream, tile_buffer
from tests.benchmarks.sourcetiles import needed
from tests.benchmarks.tiles import SIDE
from tests.benchmarks.workers.timing import best, tell


def with_openslide(path: str, origins: NDArray[np.int64], rounds: int) -> float:
    def read() -> None:
        with openslide.OpenSlide(path) as slide:
            for x, y in origins.tolist():
                slide.read_region((x, y), 0, (SIDE, SIDE)).convert("RGB")

    return best(read, rounds)


def with_pathray(path: str, origins: NDArray[np.int64], rounds: int) -> float:
    def read() -> None:
        reader = TiffReader.open(path)
        assert all(square is not None for square in reader.read_squares(0, origins, SIDE))
        reader.close()

    return best(read, rounds)


def with_decoder_alone(path: str, origins: NDArray[np.int64], rounds: int) -> float:
    """The codec on the source tiles that the squares need, in memory already."""
    reader = TiffReader.open(path)
    page, table = reader._index.pyramid.levels[0], reader._index.tables[0]
    kept: list[bytes] = []
    numbers = needed(reader, 0, origins, SIDE)
    gather = TileStream(reader._source, page, table, lambda data, _: kept.append(data), numbers)
    for _ in numbers:
        gather.next()
    out, decode = tile_buffer((page.tile_height, page.tile_width, 3)), reader._index.decoders[0]

    def run() -> None:
        for data in kept:
            decode(data, out)

    return best(run, rounds)


WAYS = {"openslide": with_openslide, "pathray": with_pathray, "decoder": with_decoder_alone}

if __name__ == "__main__":
    way, slide, tiles, rounds = sys.argv[1:]
    origins = np.load(tiles)
    tell(tiles=len(origins), seconds=WAYS[way](slide, origins, int(rounds)))
