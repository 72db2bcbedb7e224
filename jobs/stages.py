"""The stages that `tile` and `embed` share: planning a slide, guarding a piece."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from jobs.items import Piece, Report, SlideWork, pack, unpack
from jobs.ledger import Ledger
from pathray import storage
from pathray.cohort import Slide
from pathray.errors import PathrayError, one_line
from pathray.slides.open import is_spooled, open_slide
from pathray.slides.reader import SlideReader
from pathray.slides.spool import Spool
from pathray.tiling import Plan, Tiling, plan_tiles, slide_identity


class PieceWork(Protocol):
    """What is done with a piece where its slide is read."""

    def __call__(self, piece: Piece, reader: SlideReader) -> pa.Table: ...


@dataclass(frozen=True)
class SlideJob:
    """Everything the reading stages need; travels to the workers with them."""

    tiling: Tiling
    spool: Spool
    ledger: Ledger
    preview: str | None = None


def plan_stage(block: pa.Table, job: SlideJob, work: PieceWork) -> Iterator[pa.Table]:
    """Slides to pieces, one row each.

    The pieces of a spooled slide are worked on right here, on the node that holds its copy;
    all others go out to the cluster.
    """
    for item, _ in unpack(block):
        assert isinstance(item, SlideWork)
        yield from _guarded(job.ledger, item.slide, "planning", lambda: _plan(item, job, work))


def _plan(item: SlideWork, job: SlideJob, work: PieceWork) -> Iterator[pa.Table]:
    started = time.perf_counter()
    slide = item.slide
    with open_slide(slide.uri, job.spool) as reader:
        plan, mask = plan_tiles(reader, slide.slide_id, job.tiling)
        if job.preview:
            _put_preview(job.preview, reader, slide, plan, mask)
        pieces = [
            Piece(
                slide,
                item.source,
                slide_identity(slide, item.source, job.tiling),
                plan.part(start, stop),
                index,
                len(plan.pieces()),
                len(plan.x),
                existing=index in item.existing,
            )
            for index, (start, stop) in enumerate(plan.pieces())
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
        for piece in pieces:
            if spooled:
                yield from guarded_piece(piece, job, lambda piece: work(piece, reader))
            else:
                yield pack(piece)


def piece_stage(block: pa.Table, job: SlideJob, work: PieceWork) -> Iterator[pa.Table]:
    """Pieces to what `work` makes of them; opens the slide once a piece."""

    def open_and_work(piece: Piece) -> pa.Table:
        with open_slide(piece.slide.uri, job.spool) as reader:
            return work(piece, reader)

    for row, (item, _) in enumerate(unpack(block)):
        if isinstance(item, Piece):
            yield from guarded_piece(item, job, open_and_work)
        else:
            yield block.slice(row, 1)


def guarded_piece(piece: Piece, job: SlideJob, work: Any) -> Iterator[pa.Table]:
    """Work on a piece, so that whatever goes wrong is the slide's failure and no more."""
    step = f"piece {piece.index}"
    yield from _guarded(job.ledger, piece.slide, step, lambda: iter([work(piece)]))


def _guarded(ledger: Ledger, slide: Slide, step: str, work: Any) -> Iterator[pa.Table]:
    try:
        ledger.begin(slide.slide_id, step)
        yield from work()
        ledger.end(slide.slide_id, step)
    except Exception as error:
        yield pack(failure(ledger, slide, step, error))


def failure(ledger: Ledger, slide: Slide, step: str, error: Exception) -> Report:
    """The report of a slide that cannot go on; its other pieces are spared."""
    known = isinstance(error, PathrayError)
    reason = one_line(error) if known else f"{storage.reason(slide.uri, error)} during {step}"
    ledger.condemn(slide.slide_id, reason)
    ledger.end(slide.slide_id, step)
    return Report("failed", slide.slide_id, error=reason)


def _put_preview(folder: str, reader: SlideReader, slide: Slide, plan: Plan, mask: Any) -> None:
    from pathray.slides.preview import render_preview

    image = render_preview(reader, slide.slide_id, plan.sampling, mask, plan.x, plan.y)
    storage.put_bytes(storage.join(folder, f"{slide.slide_id}.png"), image)

