"""Decoded tiles of a level, in a given order: fetched ahead, decoded one at a time."""

import numpy as np
from numpy.typing import NDArray

from pathray.errors import TileError
from pathray.slides.ranges import RangeReader
from pathray.slides.reader import Pixels
from pathray.slides.tiffdecode import Decoder
from pathray.slides.tiffpyramid import Level
from pathray.slides.tiletable import TileTable

SPARE_BYTES = 64 << 10
"""A compressed tile may be twice its decoded size and this much; anything larger is a lie."""

Tile = Pixels | TileError | None
"""A decoded tile, why it cannot be decoded, or None for one that the slide leaves out."""


def tile_buffer(shape: tuple[int, int, int]) -> Pixels:
    """An uninitialised uint8 array that libjpeg-turbo writes fast.

    Into rows aligned to 32 bytes it writes past the cache (non-temporal stores), which makes
    decoding a quarter slower and the pixels cold for the copy that follows; so the array is
    deliberately not aligned.
    """
    size = shape[0] * shape[1] * shape[2]
    memory = np.empty(size + 64, np.uint8)
    start = (16 - memory.ctypes.data) % 64
    return memory[start : start + size].reshape(shape)


class TileStream:
    """The tiles `numbers` of a level, one `next()` each, in buffers that may be given back."""

    def __init__(
        self,
        source: RangeReader,
        level: Level,
        table: TileTable,
        decode: Decoder,
        numbers: NDArray[np.int64],
    ) -> None:
        offsets, counts = table.locate(source, numbers)
        present = counts != 0
        limit = min(source.size, 2 * level.tile_bytes + SPARE_BYTES)
        sound = (counts > 0) & (counts <= limit) & (offsets > 0)
        sound &= offsets <= source.size - counts
        starts, stops = offsets[sound].tolist(), (offsets + counts)[sound].tolist()
        self._data = source.stream(list(zip(starts, stops, strict=True)))
        self._kinds = iter(np.where(sound, 1, np.where(present, -1, 0)).tolist())
        self._decode = decode
        self._shape = (level.tile_height, level.tile_width, 3)
        self._free: list[Pixels] = []

    def next(self) -> Tile:
        """The next tile of the order given."""
        kind = next(self._kinds)
        if kind == 0:
            return None
        if kind < 0:
            return TileError("tile lies outside the file, or its size is impossible")
        out = self._free.pop() if self._free else tile_buffer(self._shape)
        try:
            self._decode(next(self._data), out)
        except TileError as error:
            self._free.append(out)
            return error
        return out

    def give_back(self, pixels: Pixels) -> None:
        """Let a later tile be decoded into this one's memory."""
        self._free.append(pixels)

    def close(self) -> None:
        """Stop fetching ahead."""
        self._data.close()
