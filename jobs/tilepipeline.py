"""What `pathray tile` runs: read, plan, spread, write, summarise.

Slides are planned one a task, their pieces go out to the whole cluster, and each piece is
cut, compressed and put as one shard by the task that reads it.
"""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.cluster import connected
from jobs.items import Piece, Report, pack
from jobs.ledger import Ledger
from jobs.pipeline import open_cohort, reports, spread
from jobs.resume import find_work
from jobs.stages import SlideJob, piece_stage, plan_stage
from jobs.sweep import Sweep
from jobs.tile import Flags
from jobs.tileshards import TileShards
from jobs.tracker import Tracker
from pathray import outputs, storage
from pathray.metadata import Metadata, read_metadata, refuse_changed
from pathray.tilestore import JPEG, PNG, Shard, encode_image, serialise, shard_name
from pathray.tiling import provenance


def tile(flags: Flags) -> int:
    """Tile a cohort; returns the exit code."""
    tiling = flags.tiling(flags.tile_size, flags.mpp)
    codec = PNG if flags.lossless else JPEG
    out = storage.absolute(flags.out)
    cohort = open_cohort(flags.slides, tiling)
    outputs.put_settings(out, {"kind": "tiles", "image_codec": codec} | tiling.identity())
    statuses = outputs.read_statuses(out)
    shards = TileShards(out, tiling, codec, flags.max_tiles_lost, statuses)
    found = find_work(cohort, shards)
    tracker = Tracker("tile", out, found, shards)
    if found.todo:
        # Ray last to go: it exports what the tracker publishes at its end.
        with connected() as capacity, tracker:
            tracker.stages = {"plan": capacity.cpus, "cut": capacity.cpus}
            job = SlideJob(tiling, flags.spool(), Ledger(), flags.preview_folder(), flags.reader)
            work = WriteShard(out, codec)
            plan = partial(plan_stage, job=job, work=work)
            cut = partial(piece_stage, job=job, work=work)
            for report in reports(spread(found.todo, plan, cut)):
                tracker.take(report)
    return tracker.summarise()


@dataclass(frozen=True)
class WriteShard:
    """Cuts a piece, compresses its tiles and puts them as one shard."""

    out: str
    codec: str

    def __call__(self, piece: Piece, sweep: Sweep) -> pa.Table:
        started = time.perf_counter()
        uri = storage.join(self.out, shard_name(piece.slide.slide_id, piece.index))
        if piece.existing:
            theirs = read_metadata(uri)
            refuse_changed(uri, piece.identity, theirs)
            return pack(_report(piece, theirs.provenance["tiles_lost"], 0.0, 0, resumed=True))
        images = [
            None if tile is None else encode_image(tile, self.codec) for tile in sweep.tiles(piece)
        ]
        kept = np.array([i for i, image in enumerate(images) if image is not None], np.int64)
        lost = len(images) - len(kept)
        outputs.put_object(uri, serialise(_shard(piece, images, kept)))
        seconds = time.perf_counter() - started
        return pack(_report(piece, lost, seconds, sweep.new_bytes()))


def _shard(piece: Piece, images: list[bytes | None], kept: NDArray[np.int64]) -> Shard:
    plan, slide = piece.plan, piece.slide
    made = provenance(slide, piece.source, plan) | {
        "piece": piece.index,
        "pieces": piece.count,
        "tiles_planned": piece.tiles,
        "tiles_lost": len(images) - len(kept),
    }
    return Shard(
        slide_id=slide.slide_id,
        patient_id=slide.patient_id,
        x=plan.x[kept],
        y=plan.y[kept],
        tissue=plan.tissue[kept],
        images=[image for image in images if image is not None],
        metadata=Metadata(piece.identity, made),
    )


def _report(piece: Piece, lost: int, seconds: float, read: int, resumed: bool = False) -> Report:
    return Report(
        "piece",
        piece.slide.slide_id,
        piece=piece.index,
        pieces=piece.count,
        tiles=len(piece.plan.x) - lost,
        tiles_lost=lost,
        resumed=resumed,
        seconds={"cut": seconds},
        bytes_read=read,
    )
