"""What flows through a pipeline: one row an item, one item a block.

Every stage takes and gives rows of (`item`, `pixels`): `item` is a pickled work item or
`Report`, `pixels` the raw RGB of a piece where it has been read. Reports made by an early
stage travel through the later ones untouched, so that the driver sees them all.
"""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pathray.cohort import Slide
from pathray.slides.reader import Pixels
from pathray.storage import Source
from pathray.tiling import Plan

_SCHEMA = pa.schema([("item", pa.large_binary()), ("pixels", pa.large_binary())])


@dataclass(frozen=True)
class SlideWork:
    """A slide to be planned; `existing` are its pieces that an earlier run has put.

    `identity` is the one that its objects will have.
    """

    slide: Slide
    source: Source
    existing: frozenset[int] = frozenset()
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardWork:
    """A tile shard to be embedded: piece `index` of `count` of a slide.

    `existing`: an earlier run has staged its embeddings.
    """

    slide: Slide
    uri: str
    identity: dict[str, Any]
    index: int
    count: int
    existing: bool = False


@dataclass(frozen=True)
class Piece:
    """Piece `index` of `count` of a slide. `plan` holds only this piece's tiles.

    `existing`: an earlier run has put it. `tiles` is the number planned for the whole slide.
    """

    slide: Slide
    source: Source
    identity: dict[str, Any]
    plan: Plan
    index: int
    count: int
    tiles: int
    existing: bool = False


@dataclass(frozen=True)
class PieceRun:
    """Consecutive pieces of a slide, the work of one task."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class ReadPiece:
    """A piece whose pixels travel beside it, wherever they came from.

    x, y (N,) int32 level-0 corners and tissue (N,) float32 of the tiles that were decoded,
    in (y, x) order; `lost` were not. Pixels are uint8 (N, tile_size, tile_size, 3).
    """

    slide_id: str
    index: int
    count: int
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    tissue: NDArray[np.float32]
    tile_size: int
    lost: int
    identity: dict[str, Any]
    provenance: dict[str, Any]
    seconds: float
    bytes_read: int


@dataclass(frozen=True)
class EmbeddedPiece:
    """A piece with its vectors, float16 (N, D)."""

    read: ReadPiece
    vectors: NDArray[np.float16]
    seconds: float


@dataclass(frozen=True)
class Report:
    """The small row that the driver sees.

    `planned`: a slide has `pieces` pieces of `tiles` tiles in all;
    `piece`: one of them is put; `failed`: the slide is lost, for the reason in `error`.
    `seconds` are busy seconds by stage.
    """

    kind: Literal["planned", "piece", "failed"]
    slide_id: str
    piece: int = 0
    pieces: int = 0
    tiles: int = 0
    tiles_lost: int = 0
    resumed: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_read: int = 0
    reader: str | None = None
    error: str | None = None


Item = SlideWork | ShardWork | PieceRun | ReadPiece | EmbeddedPiece | Report


def pack(item: Item, pixels: Pixels | None = None) -> pa.Table:
    """A one-row block. The pixels' memory is used as it is, not copied."""
    held = pa.array([None], pa.large_binary())
    if pixels is not None:
        offsets = np.array([0, pixels.nbytes], np.int64)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(pixels)]
        held = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, buffers)
    return pa.Table.from_arrays(
        [pa.array([pickle.dumps(item)], pa.large_binary()), held], schema=_SCHEMA
    )


def unpack(block: pa.Table) -> Iterator[tuple[Item, pa.Buffer | None]]:
    """The items of a block with their pixels, if any."""
    for item, pixels in zip(_values(block["item"]), _values(block["pixels"]), strict=True):
        assert item is not None
        # Our own bytes, made by `pack` in this very job.
        yield pickle.loads(item), pixels


def _values(column: pa.ChunkedArray) -> Iterator[pa.Buffer | None]:
    """The values of a binary column where they lie; Arrow's own scalars would copy them."""
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        bounds = np.frombuffer(offsets, np.int64)[chunk.offset :].tolist()
        for row, valid in enumerate(chunk.is_valid().to_pylist()):
            yield data.slice(bounds[row], bounds[row + 1] - bounds[row]) if valid else None


def pixels_of(buffer: pa.Buffer, side: int) -> Pixels:
    """The tiles (N, side, side, 3) in a buffer, read-only and uncopied."""
    return np.frombuffer(buffer, np.uint8).reshape(-1, side, side, 3)


Stage = Callable[[pa.Table], Iterator[pa.Table]]
