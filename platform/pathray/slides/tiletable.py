"""Where the tiles of a TIFF level lie: its offset and byte-count tables, read by the block.

The tables of a large slide are megabytes and a piece of it needs a few rows of tiles, so
only the blocks that are needed are fetched, and kept for the next piece.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pathray.slides.ranges import Range, RangeReader
from pathray.slides.tiffdirectory import Table

BLOCK = 4096
"""Entries read at once: 16 to 32 KiB."""


OFFSETS, COUNTS = 0, 1


class TileTable:
    """The offsets and byte counts of one level's tiles; may be shared between readers."""

    def __init__(self, offsets: Table, byte_counts: Table) -> None:
        self._tables = (offsets, byte_counts)
        self._blocks: dict[tuple[int, int], NDArray[np.int64]] = {}

    def locate(
        self, source: RangeReader, tiles: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offsets and byte counts of `tiles`, both int64 of the same shape."""
        blocks = np.unique(tiles // BLOCK).tolist()
        _load(source, [(self, which, block) for which in (OFFSETS, COUNTS) for block in blocks])
        return self._values(OFFSETS, tiles), self._values(COUNTS, tiles)

    def _range(self, which: int, block: int) -> Range:
        table = self._tables[which]
        size = np.dtype(table.dtype).itemsize
        first, last = block * BLOCK, min((block + 1) * BLOCK, table.count)
        return table.offset + first * size, table.offset + last * size

    def _values(self, which: int, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        out = np.empty(tiles.shape, np.int64)
        block_of = tiles // BLOCK
        for block in np.unique(block_of).tolist():
            chosen = block_of == block
            out[chosen] = self._blocks[which, block][tiles[chosen] - block * BLOCK]
        return out


def any_left_out(source: RangeReader, tables: Sequence[TileTable]) -> bool:
    """Whether any tile of these levels has no bytes; fetches all their byte counts at once."""
    blocks = [
        (table, COUNTS, block)
        for table in tables
        for block in range(-(-table._tables[COUNTS].count // BLOCK))
    ]
    _load(source, blocks)
    return not all(table._blocks[which, block].all() for table, which, block in blocks)


def _load(source: RangeReader, blocks: Sequence[tuple[TileTable, int, int]]) -> None:
    """Fetch the blocks that are not there yet, all in one go."""
    lacking = [key for key in blocks if key[1:] not in key[0]._blocks]
    ranges = [table._range(which, block) for table, which, block in lacking]
    for (table, which, block), data in zip(lacking, source.stream(ranges), strict=True):
        values = np.frombuffer(data, table._tables[which].dtype)
        # A 64-bit offset beyond 2**63 is nonsense; it turns negative and is refused later.
        table._blocks[which, block] = values.astype(np.int64)
