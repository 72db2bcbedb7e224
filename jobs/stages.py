"""The stages that `tile` and `embed` share: planning a slide, guarding a piece."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

import pyarrow as pa

from jobs.items import Piece, PieceRun, Report, SlideWork, pack, unpack
from jobs.ledger import Ledger
from jobs.logs import log
from jobs.sweep import Sweep, runs_of
from pathray import storage
from pathray.cohort import Slide
from pathray.errors import PathrayError, SlideError, one_line
from pathray.slides.companions import source_of
from pathray.slides.open import Backend, is_spooled, open_slide
from pathray.slides.reader import SlideReader
from pathray.slides.spool import Spool
from pathray.slides.tissue_mask import TissueMask
from pathray.storage import Source
from pathray.tiling import Plan, Tiling, plan_tiles


class PieceWork(Protocol):
    """What is done with a piece where its slide is read."""

    def __call__(self, piece: Piece, sweep: Sweep) -> pa.Table: ...


@dataclass(frozen=True)
class SlideJob:
    """Everything the reading stages need; travels to the workers with them."""

    tiling: Tiling
    spool: Spool
    ledger: Ledger
    preview: str | None = None
    backend: Backend = "auto"


def plan_stage(block: pa.Table, job: SlideJob, work: PieceWork) -> Iterator[pa.Table]:
    """Slides to runs of pieces, one row each.

    The pieces of a spooled slide are worked on right here, on the node that holds its copy;
    all others go out to the cluster.
    """
    for item, _ in unpack(block):
        assert isinstance(item, SlideWork)
        yield from guarded(job.ledger, item.slide, "planning", partial(_plan, item, job, work))


def _plan(item: SlideWork, job: SlideJob, work: PieceWork) -> Iterator[pa.Table]:
    started = time.perf_counter()
    slide = item.slide
    with open_slide(slide.uri, job.spool, job.backend) as reader:
        _check_unchanged(slide, item.source)
        plan, mask = plan_tiles(reader, slide.slide_id, job.tiling)
        if job.preview:
            _put_preview(job.preview, reader, slide, plan, mask)
        ranges = plan.pieces()
        pieces = [
            Piece(
                slide,
                item.source,
                item.identity,
                plan.part(start, stop),
                index,
                len(ranges),
                len(plan.x),
                existing=index in item.existing,
            )
            for index, (start, stop) in enumerate(ranges)
        ]
        spooled = is_spooled(slide.uri, reader)
        yield pack(
            Report(
                "planned",
                slide.slide_id,
                pieces=len(pieces),
                tiles=len(plan.x),
                seconds={"plan": time.perf_counter() - started},
                bytes_read=reader.bytes_read,
                reader=reader.name,
            )
        )
        job.ledger.end(slide.slide_id, "planning")
        if spooled:
            yield from _sweep(pieces, lambda: Sweep(reader, pieces, reader.bytes_read), job, work)
        else:
            yield from map(pack, runs_of(pieces))


def piece_stage(block: pa.Table, job: SlideJob, work: PieceWork) -> Iterator[pa.Table]:
    """Runs of pieces to what `work` makes of each piece; opens the slide once a run."""
    for row, (item, _) in enumerate(unpack(block)):
        if isinstance(item, PieceRun):
            with ExitStack() as held:
                yield from _sweep(item.pieces, partial(_opened, item.pieces, job, held), job, work)
        else:
            yield block.slice(row, 1)


def _opened(pieces: Sequence[Piece], job: SlideJob, held: ExitStack) -> Sweep:
    slide = pieces[0].slide
    reader = held.enter_context(open_slide(slide.uri, job.spool, job.backend))
    _check_unchanged(slide, pieces[0].source)
    return Sweep(reader, pieces)


def _sweep(
    pieces: Sequence[Piece], opened: Callable[[], Sweep], job: SlideJob, work: PieceWork
) -> Iterator[pa.Table]:
    """Pieces in turn, so that whatever goes wrong is the slide's failure and no more.

    The slide is opened as part of the first piece, and so under its guard.
    """
    once = cache(opened)
    for piece in pieces:
        step = f"piece {piece.index}"
        yield from guarded(job.ledger, piece.slide, step, partial(_work_on, piece, once, work))


def _work_on(piece: Piece, opened: Callable[[], Sweep], work: PieceWork) -> Iterator[pa.Table]:
    yield work(piece, opened())


def guarded(
    ledger: Ledger, slide: Slide, step: str, work: Callable[[], Iterator[pa.Table]]
) -> Iterator[pa.Table]:
    """Rows of a step, counted in the ledger; whatever it raises becomes a failed slide."""
    try:
        ledger.begin(slide.slide_id, step)
        yield from work()
        ledger.end(slide.slide_id, step)
    except Exception as error:
        yield pack(failure_of(ledger, slide.slide_id, step, error, slide.uri))


def failure_of(
    ledger: Ledger, slide_id: str, step: str, error: Exception, uri: str | None = None
) -> Report:
    """The report of a slide that cannot go on; its other pieces are spared.

    `uri` is the object whose store may have refused.
    """
    reason = one_line(error)
    if uri and not isinstance(error, PathrayError):
        reason = f"{storage.reason(uri, error)} during {step}"
    log("slide failed", error, slide_id=slide_id, step=step, uri=uri)
    ledger.condemn(slide_id, reason)
    ledger.end(slide_id, step)
    return Report("failed", slide_id, error=reason)


def _check_unchanged(slide: Slide, source: Source) -> None:
    """Tiles of a new version must not carry the identity of the one that the run began with."""
    if source_of(slide.uri) != source:
        raise SlideError("the slide changed during the run: run again")


def _put_preview(
    folder: str, reader: SlideReader, slide: Slide, plan: Plan, mask: TissueMask
) -> None:
    from pathray.slides.preview import draw_preview, preview_thumbnail

    caption = f"{slide.slide_id}   {len(plan.x):,} tiles   {plan.sampling.mpp:.3g} mpp"
    thumbnail = preview_thumbnail(reader)
    picture = draw_preview(
        thumbnail.pixels, thumbnail.scale, mask, plan.x, plan.y, plan.sampling.side0, caption
    )
    storage.put_bytes(storage.join(folder, f"{slide.slide_id}.png"), picture)
