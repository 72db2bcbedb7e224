"""The source tiles of a TIFF slide that a set of tiles needs, and their bytes."""

import numpy as np
from numpy.typing import NDArray

from pathray.slides.tiff import TiffReader
from pathray.slides.windows import Grid


def needed(
    reader: TiffReader, level: int, origins: NDArray[np.int64], side: int
) -> NDArray[np.int64]:
    """Numbers of the source tiles under squares of `side` at `origins` (N, 2), each once."""
    page = reader._index.pyramid.levels[level]
    grid = Grid(page.width, page.height, page.tile_width, page.tile_height, page.across)
    return np.unique(grid.cover(origins, side, side)[0])


def compressed_bytes(reader: TiffReader, level: int, numbers: NDArray[np.int64]) -> int:
    """Bytes that these source tiles take in the file."""
    return int(reader._index.tables[level].locate(reader._source, numbers)[1].sum())
