"""Where the tiles of a TIFF level lie: its offset and byte-count tables, read by the block.

The tables of a large slide are megabytes and a piece of it needs a few rows of tiles, so
only the blocks that are needed are fetched, and kept for the next piece.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pathray.slides.ranges import Range, RangeReader
from pathray.slides.tiffdirectory import Table

BLOCK = 4096
"""Entries read at once: 16 to 32 KiB."""


class TileTable:
    """The offsets and byte counts of one level's tiles; may be shared between readers."""

    def __init__(self, offsets: Table, byte_counts: Table) -> None:
        self._tables = (offsets, byte_counts)
        self._blocks: dict[tuple[int, int], NDArray[np.int64]] = {}

    def locate(
        self, source: RangeReader, tiles: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offsets and byte counts of `tiles`, both int64 of the same shape."""
        self._load(source, [0, 1], tiles)
        return self._values(0, tiles), self._values(1, tiles)

    def byte_counts(self, source: RangeReader) -> NDArray[np.int64]:
        """The byte counts of all tiles; 0 is a tile that the slide leaves out."""
        tiles = np.arange(self._tables[1].count)
        self._load(source, [1], tiles)
        return self._values(1, tiles)

    def _load(self, source: RangeReader, which: Iterable[int], tiles: NDArray[np.int64]) -> None:
        needed = np.unique(tiles // BLOCK).tolist()
        keys = [(t, block) for t in which for block in needed if (t, block) not in self._blocks]
        ranges = [self._range(*key) for key in keys]
        for (which_table, block), data in zip(keys, source.stream(ranges), strict=True):
            values = np.frombuffer(data, self._tables[which_table].dtype)
            # A 64-bit offset beyond 2**63 is nonsense; it turns negative and is refused later.
            self._blocks[which_table, block] = values.astype(np.int64)

    def _range(self, which_table: int, block: int) -> Range:
        table = self._tables[which_table]
        size = np.dtype(table.dtype).itemsize
        first, last = block * BLOCK, min((block + 1) * BLOCK, table.count)
        return table.offset + first * size, table.offset + last * size

    def _values(self, which_table: int, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        out = np.empty(tiles.shape, np.int64)
        block_of = tiles // BLOCK
        for block in np.unique(block_of).tolist():
            chosen = block_of == block
            out[chosen] = self._blocks[which_table, block][tiles[chosen] - block * BLOCK]
        return out
