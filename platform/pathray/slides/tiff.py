"""The range reader: tiled TIFF slides (Aperio, Philips, OME, generic) read tile by tile.

It fetches only the tiles that are asked for, each once, from any fsspec store, and decodes
them while the next ones are on their way. What it does not understand raises `Unsupported`
at open and is OpenSlide's matter (see docs/reading.md).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathray.errors import TileError
from pathray.slides.ranges import RangeReader
from pathray.slides.reader import Pixels, SlideInfo
from pathray.slides.tiffdirectory import Unsupported
from pathray.slides.tiffindex import TiffIndex, index_of
from pathray.slides.tilestream import TileStream
from pathray.slides.windows import Grid, MovingWindow, plan_windows

__all__ = ["TiffReader", "Unsupported"]


class TiffReader:
    """A tiled TIFF slide, open. Implements `SlideReader`."""

    name = "tiff"

    def __init__(self, source: RangeReader, index: TiffIndex) -> None:
        self._source = source
        self._index = index
        pyramid = index.pyramid
        finest = pyramid.levels[0]
        self.info = SlideInfo(
            width=finest.width,
            height=finest.height,
            level_sizes=tuple((level.width, level.height) for level in pyramid.levels),
            level_downsamples=pyramid.downsamples,
            bounds=(0, 0, finest.width, finest.height),
            mpp=pyramid.mpp,
            mpp_source=pyramid.mpp_source,
        )

    @classmethod
    def open(cls, uri: str, filesystem_options: Mapping[str, Any] | None = None) -> "TiffReader":
        """Open a slide by its URI.

        Raises Unsupported where another reader should try, SlideError where the store has
        no such file or does not answer.
        """
        source = RangeReader(uri, filesystem_options)
        try:
            return cls(source, index_of(source, filesystem_options))
        except BaseException:
            source.close()
            raise

    @property
    def bytes_read(self) -> int:
        """Bytes fetched from the slide's own store so far (headers included)."""
        return self._source.bytes_read

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """RGB of a window, uint8 (height, width, 3); see `SlideReader.read`."""
        out = np.empty((height, width, 3), np.uint8)
        for window in self._windows(level, np.array([[x, y]]), out):
            if isinstance(window, TileError):
                raise window
            return window
        raise AssertionError("one origin, one window")

    def read_squares(
        self, level: int, origins: NDArray[np.int64], side: int
    ) -> Iterator[Pixels | None]:
        """Squares at `origins` in order, each source tile fetched once; see `SlideReader`."""
        out = np.empty((side, side, 3), np.uint8)
        for window in self._windows(level, np.asarray(origins, np.int64).reshape(-1, 2), out):
            yield None if isinstance(window, TileError) else window

    def close(self) -> None:
        """Free the file."""
        self._source.close()

    def _windows(
        self, level: int, origins: NDArray[np.int64], out: Pixels
    ) -> Iterator[Pixels | TileError]:
        """Windows of the shape of `out` at `origins`, each drawn into `out` or a view."""
        page = self._index.pyramid.levels[level]
        grid = Grid(page.width, page.height, page.tile_width, page.tile_height, page.across)
        course = plan_windows(grid, origins, out.shape[1], out.shape[0])
        table, decode = self._index.tables[level], self._index.decoders[level]
        stream = TileStream(self._source, page, table, decode, course.loads)
        try:
            yield from MovingWindow(grid, course, stream, out, self.info.background)
        finally:
            stream.close()
