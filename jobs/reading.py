"""Pieces to pixels for the encoders: cut from slides, or decoded from tile shards."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from jobs.items import Piece, ReadPiece, Report, ShardWork, SlideWork, pack, unpack
from jobs.ledger import Ledger
from jobs.stages import guarded
from jobs.sweep import Sweep
from pathray import outputs, storage
from pathray.errors import TileError
from pathray.metadata import read_metadata, refuse_changed
from pathray.slides.reader import Pixels
from pathray.tilestore import OF_A_SHARD, decode_image, read_shard, shard_name
from pathray.tiling import provenance

Tiles = Iterator[Pixels | None]
"""Tiles in order, each valid until the next; None where one cannot be decoded."""


class HandOver(Protocol):
    """What becomes of a piece's tiles."""

    def gather(self, tiles: Tiles, n: int, side: int) -> tuple[Any, list[int], float]:
        """What is kept of `n` tiles, which were decodable, and the seconds of encoding in it."""
        ...

    def send(self, read: ReadPiece, gathered: Any, encode_seconds: float) -> pa.Table:
        """The row that goes on."""
        ...


class SendPixels:
    """Sends the pixels of a piece, in one array, to the pool of encoders."""

    def gather(self, tiles: Tiles, n: int, side: int) -> tuple[Pixels, list[int], float]:
        """See `HandOver`."""
        pixels = np.empty((n, side, side, 3), np.uint8)
        kept: list[int] = []
        for index, tile in enumerate(tiles):
            if tile is not None:
                pixels[len(kept)] = tile
                kept.append(index)
        return pixels[: len(kept)], kept, 0.0

    def send(self, read: ReadPiece, gathered: Pixels, encode_seconds: float) -> pa.Table:  # noqa: ARG002
        """See `HandOver`."""
        return pack(read, gathered)


@dataclass(frozen=True)
class ReadSlide:
    """Cuts a piece from its open slide, as the work of `jobs.stages`."""

    out: str
    encoder_name: str
    hand_over: HandOver

    def __call__(self, piece: Piece, sweep: Sweep) -> pa.Table:
        if piece.existing:
            return pack(staged_report(self.out, piece.slide.slide_id, piece.index, piece.count))
        started = time.perf_counter()
        plan, side = piece.plan, piece.plan.sampling.tile_size
        gathered, kept, encoding = self.hand_over.gather(sweep.tiles(piece), len(plan.x), side)
        read = ReadPiece(
            slide_id=piece.slide.slide_id,
            index=piece.index,
            count=piece.count,
            x=plan.x[kept],
            y=plan.y[kept],
            tissue=plan.tissue[kept],
            tile_size=side,
            lost=len(plan.x) - len(kept),
            identity=piece.identity,
            provenance=provenance(piece.slide, piece.source, plan) | {"encoder": self.encoder_name},
            seconds=time.perf_counter() - started - encoding,
            bytes_read=sweep.new_bytes(),
        )
        return self.hand_over.send(read, gathered, encoding)


@dataclass(frozen=True)
class ReadShards:
    """The two reading stages for slides that `pathray tile` has cut already."""

    out: str
    store: str
    encoder_name: str
    encoder: dict[str, Any]
    hand_over: HandOver
    ledger: Ledger

    def plan(self, block: pa.Table) -> Iterator[pa.Table]:
        """Slides to their shards, one row each; no pixel is read."""
        for item, _ in unpack(block):
            assert isinstance(item, SlideWork)
            yield from guarded(self.ledger, item.slide, "planning", partial(self._plan, item))

    def _plan(self, item: SlideWork) -> Iterator[pa.Table]:
        slide = item.slide
        first = read_metadata(slide.uri)
        made = first.provenance
        count, tiles = made["pieces"], made["tiles_planned"]
        yield pack(
            Report("planned", slide.slide_id, pieces=count, tiles=tiles, reader="tile shards")
        )
        for index in range(count):
            uri = storage.join(self.store, shard_name(slide.slide_id, index))
            identity = dict(first.identity)
            yield pack(ShardWork(slide, uri, identity, index, count, index in item.existing))

    def read(self, block: pa.Table) -> Iterator[pa.Table]:
        """Shards to pieces of pixels."""
        for row, (item, _) in enumerate(unpack(block)):
            if isinstance(item, ShardWork):
                work = partial(self._read, item)
                yield from guarded(self.ledger, item.slide, f"piece {item.index}", work)
            else:
                yield block.slice(row, 1)

    def _read(self, item: ShardWork) -> Iterator[pa.Table]:
        slide_id = item.slide.slide_id
        if item.existing:
            yield pack(staged_report(self.out, slide_id, item.index, item.count))
            return
        started = time.perf_counter()
        shard = read_shard(item.uri)
        refuse_changed(item.uri, item.identity, shard.metadata)
        made = {k: v for k, v in shard.metadata.provenance.items() if k not in OF_A_SHARD}
        side = item.identity["tile_size"]
        tiles, n = map(_decoded, shard.images), len(shard.images)
        gathered, kept, encoding = self.hand_over.gather(tiles, n, side)
        lost_before: int = shard.metadata.provenance["tiles_lost"]
        read = ReadPiece(
            slide_id=slide_id,
            index=item.index,
            count=item.count,
            x=shard.x[kept],
            y=shard.y[kept],
            tissue=shard.tissue[kept],
            tile_size=side,
            lost=lost_before + n - len(kept),
            identity=item.identity | self.encoder,
            provenance=made | {"encoder": self.encoder_name},
            seconds=time.perf_counter() - started - encoding,
            bytes_read=sum(map(len, shard.images)),
        )
        yield self.hand_over.send(read, gathered, encoding)


def staged_report(out: str, slide_id: str, index: int, count: int) -> Report:
    """The report of a piece that an earlier run has staged."""
    made = read_metadata(outputs.staged_piece(out, slide_id, index)).provenance
    return Report(
        "piece",
        slide_id,
        piece=index,
        pieces=count,
        tiles=made["tiles"],
        tiles_lost=made["tiles_lost"],
        resumed=True,
    )


def _decoded(image: bytes) -> Pixels | None:
    try:
        return decode_image(image)
    except TileError:
        return None
