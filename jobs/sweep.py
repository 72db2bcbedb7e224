"""Consecutive pieces of a slide, read by one task in one sweep.

Neighbouring pieces share the source tiles along their border: read together, these are
fetched and decoded once. And a task costs the scheduler the same however much it does.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from jobs.items import Piece, PieceRun
from pathray.slides.reader import Pixels, SlideReader
from pathray.tiling import Plan, cut_tiles

LONGEST_RUN = 4
RUNS_A_SLIDE = 8
"""A slide is spread over this many tasks before their runs grow longer than one piece."""


def runs_of(pieces: Sequence[Piece]) -> Iterator[PieceRun]:
    """The pieces of a slide as runs, by rule from their number alone."""
    length = min(LONGEST_RUN, -(-len(pieces) // RUNS_A_SLIDE))
    for start in range(0, len(pieces), length):
        yield PieceRun(tuple(pieces[start : start + length]))


class Sweep:
    """The tiles of an open slide's pieces, handed out piece after piece."""

    def __init__(self, reader: SlideReader, pieces: Sequence[Piece], read_before: int = 0) -> None:
        """`read_before`: the bytes of the reader that are accounted for already."""
        self._reader = reader
        self._counted = read_before
        asked = [piece.plan for piece in pieces if not piece.existing]
        self._tiles = cut_tiles(reader, Plan.join(asked)) if asked else iter(())

    def tiles(self, piece: Piece) -> Iterator[Pixels | None]:
        """The piece's tiles as `cut_tiles` gives them; to be used up before the next piece's."""
        return islice(self._tiles, len(piece.plan.x))

    def new_bytes(self) -> int:
        """Bytes fetched since this was last asked; what was fetched ahead counts here too."""
        before, self._counted = self._counted, self._reader.bytes_read
        return self._counted - before
