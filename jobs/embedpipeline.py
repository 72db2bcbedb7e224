"""What `pathray embed` runs: read, plan, spread, encode, stage, join, summarise.

CPU tasks read pieces, a pool of encoders embeds them, small tasks put each piece under
`_staging`, and when a slide's pieces are all there one finisher joins them into its object.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.cluster import Capacity, connected
from jobs.embed import Flags
from jobs.embeddingobjects import EmbeddingObjects, stage_piece
from jobs.encoding import (
    Described,
    Embedder,
    EncoderChoice,
    Pool,
    Vectors,
    choose_encoder,
    choose_pool,
    counted,
    describe,
)
from jobs.items import EmbeddedPiece, ReadPiece, pack, unpack
from jobs.ledger import Ledger
from jobs.pipeline import READ_CPUS, open_cohort, reports, spread
from jobs.reading import HandOver, ReadShards, ReadSlide, SendPixels, Tiles
from jobs.resume import Found, find_work
from jobs.shardstore import ShardStore, open_store
from jobs.stages import SlideJob, failure_of, piece_stage, plan_stage
from jobs.tracker import Tracker
from pathray import outputs, storage
from pathray.cohort import Slide
from pathray.embeddings import to_float16
from pathray.tiling import Tiling

if TYPE_CHECKING:
    from ray.data import Dataset

DEFAULT_MPP = 0.25
"""40x: what most tile encoders of the field were trained on."""
PUT_CPUS = 0.1
"""Putting a piece is small work that must find a place beside the readers."""


@dataclass(frozen=True)
class Request:
    """What is embedded, settled before the cluster is asked for anything."""

    out: str
    choice: EncoderChoice
    store: ShardStore | None
    cohort: list[Slide]


def embed(flags: Flags) -> int:
    """Embed a cohort; returns the exit code."""
    request = _settle(flags)
    with connected() as capacity:
        pool = choose_pool(flags, capacity)
        if note := counted(flags, capacity, pool):
            print(f"embed: {note}", file=sys.stderr, flush=True)
        described = describe(request.choice, pool)
        tiling = None if request.store else _tiling(flags, described)
        outputs.put_settings(request.out, _settings(request, tiling, described))
        results = EmbeddingObjects(
            request.out,
            tiling,
            described.identity(),
            flags.max_tiles_lost,
            outputs.read_statuses(request.out),
        )
        found = find_work(request.cohort, results)
        if request.store:
            found.failed.extend(request.store.incomplete)
        with Tracker("embed", request.out, found, results) as tracker:
            if found.todo:
                tracker.stages = _workers(capacity, pool, described)
                run = _Run(flags, request, described, pool, Ledger())
                for report in reports(run.pipeline(found, tiling)):
                    tracker.take(report)
        return tracker.summarise()


def _settle(flags: Flags) -> Request:
    out = storage.absolute(flags.out)
    choice = choose_encoder(flags)
    store = open_store(flags.tiles) if flags.tiles else None
    # Only the mask and the tissue method are looked at here; size and mpp come later.
    cohort = store.slides if store else open_cohort(str(flags.slides), flags.tiling(224, "native"))
    outputs.refuse_foreign(out)
    return Request(out, choice, store, cohort)


def _tiling(flags: Flags, described: Described) -> Tiling:
    mpp = flags.mpp if flags.mpp is not None else described.mpp or DEFAULT_MPP
    return flags.tiling(flags.tile_size or described.tile_size, mpp)


def _settings(request: Request, tiling: Tiling | None, described: Described) -> dict[str, Any]:
    tiles = tiling.identity() if tiling else {}
    if request.store:
        tiles = {k: v for k, v in request.store.settings.items() if k != "kind"}
    return {"kind": "embeddings"} | tiles | described.identity()


def _workers(capacity: Capacity, pool: Pool, described: Described) -> dict[str, float]:
    encoders = capacity.cpus if described.light else float(pool.size)
    return {"plan": capacity.cpus, "read": capacity.cpus, "encode": encoders, "put": capacity.cpus}


@dataclass(frozen=True)
class _Run:
    flags: Flags
    request: Request
    described: Described
    pool: Pool
    ledger: Ledger

    def pipeline(self, found: Found, tiling: Tiling | None) -> "Dataset":
        """Slides to reports: read, encode, put."""
        rows = self._encoded(self._read(found, tiling))
        return rows.map_batches(
            partial(put_stage, out=self.request.out, ledger=self.ledger),
            batch_size=1,
            batch_format="pyarrow",
            # Asking for what reading asks for lets Ray Data run both in one task.
            num_cpus=READ_CPUS if self.described.light else PUT_CPUS,
        )

    def _read(self, found: Found, tiling: Tiling | None) -> "Dataset":
        flags, out = self.flags, self.request.out
        name, encoder = self.described.name, self.described.identity()
        hand_over = self._hand_over()
        if self.request.store:
            store = self.request.store.uri
            shards = ReadShards(out, store, name, encoder, hand_over, self.ledger)
            return spread(found.todo, shards.plan, shards.read)
        assert tiling is not None
        job = SlideJob(tiling, flags.spool(), self.ledger, flags.preview_folder(), flags.reader)
        work = ReadSlide(out, name, hand_over)
        plan = partial(plan_stage, job=job, work=work)
        return spread(found.todo, plan, partial(piece_stage, job=job, work=work))

    def _hand_over(self) -> HandOver:
        if not self.described.light:
            return SendPixels()
        return EncodeHere(self.request.choice, self.described, self.pool, self.ledger)

    def _encoded(self, pieces: "Dataset") -> "Dataset":
        import ray.data

        if self.described.light:
            return pieces
        return pieces.map_batches(
            Embedder,
            fn_constructor_args=(self.request.choice, self.described, self.pool, self.ledger),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.pool.size),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=self.pool.cpus,
            num_gpus=self.pool.gpus,
        )


@dataclass(frozen=True)
class EncodeHere:
    """Gives tiles to a light encoder in the reading task itself: no pixel travels.

    The encoder is made anew for each piece, which costs nothing: it has no weights.
    """

    choice: EncoderChoice
    described: Described
    pool: Pool
    ledger: Ledger

    def gather(self, tiles: Tiles, n: int, side: int) -> tuple[Vectors, list[int], float]:
        """See `HandOver`; memory holds one batch of pixels."""
        embedder = Embedder(self.choice, self.described, self.pool, self.ledger)
        return embedder.embed_stream(tiles, n, side)

    def send(self, read: ReadPiece, gathered: Vectors, encode_seconds: float) -> pa.Table:
        """See `HandOver`."""
        return pack(EmbeddedPiece(read, to_float16(gathered), encode_seconds))


def put_stage(block: pa.Table, out: str, ledger: Ledger) -> Iterator[pa.Table]:
    """Embedded pieces to staged ones; rows of reports pass."""
    for row, (item, _) in enumerate(unpack(block)):
        if isinstance(item, EmbeddedPiece):
            try:
                yield pack(stage_piece(out, item))
            except Exception as error:
                step = f"storing of piece {item.read.index}"
                yield pack(failure_of(ledger, item.read.slide_id, step, error, out))
        else:
            yield block.slice(row, 1)
