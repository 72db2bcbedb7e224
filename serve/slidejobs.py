"""A slide's prediction from end to end: plan, embed piece by piece, predict, draw.

Knows no Ray: `encode` and `predict` are calls to wherever encoder and model are.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathray import storage
from pathray.errors import PathrayError, SlideError, one_line
from pathray.slideprediction import SlidePrediction
from pathray.slides.open import open_slide
from pathray.slides.reader import Pixels, SlideReader
from pathray.slides.spool import Spool
from pathray.tiling import Plan, Tiling, cut_tiles, plan_tiles
from serve.drawing import ATTENTION, HEATMAP, THUMBNAIL, draw, top_tile
from serve.predicting import ModelCard, told
from serve.results import Job, Piece, Results, now
from serve.schemas import (
    Links,
    PredictionRecord,
    Progress,
    SlideDescription,
    UsedEncoder,
)

MAX_TILES_LOST = 0.01

CALLS_AHEAD = 3
"""Batches at the encoder while the next are cut."""

Vectors = NDArray[np.float16]
Report = Callable[[str, int, int | None], None]


class AbandonedError(Exception):
    """The job is another worker's now, or this one is to stop."""


@dataclass(frozen=True)
class Services:
    """What a job needs of others.

    `encode`: tiles uint8 (n, S, S, 3) to float16 (n, D). `predict`: the model's version and
    embeddings to the ensemble's answer. `card`: a model version's card. `encoder`: which
    encoder this is. `report`: stage, tiles done, tiles; raises AbandonedError to stop.
    `batch`: tiles a call. `most_tiles`: of a slide.
    """

    encode: Callable[[Pixels], Vectors]
    predict: Callable[[str, Vectors], SlidePrediction]
    card: Callable[[str], ModelCard]
    encoder: UsedEncoder
    report: Report
    batch: int
    most_tiles: int


def run_job(job: Job, results: Results, services: Services, spool: Spool) -> str:
    """Do a job and publish its record, `done` or `failed` with a reason; returns which."""
    try:
        record = _predict_slide(job, results, services, spool)
    except AbandonedError:
        raise
    except PathrayError as error:
        record = failed(job, one_line(error))
    except FileNotFoundError:
        record = failed(job, "the slide does not exist any more")
    results.finish(job.id, record.model_dump(mode="json"))
    return record.status


def failed(job: Job, reason: str) -> PredictionRecord:
    """The record of a job that cannot be done."""
    return PredictionRecord(
        id=job.id,
        status="failed",
        model=job.model,
        slide=SlideDescription(uri=job.slide, slide_id=job.slide_id),
        created=job.created,
        finished=now(),
        progress=Progress(stage="done"),
        error=reason,
    )


def _predict_slide(
    job: Job, results: Results, services: Services, spool: Spool
) -> PredictionRecord:
    services.report("planning", 0, None)
    card = services.card(job.model_uri)
    source = storage.stat(job.slide)
    if (source.size, source.version) != (job.size, job.version):
        raise SlideError("the slide changed after it was asked for: ask again")
    with open_slide(job.slide, spool) as reader:
        plan, _ = plan_tiles(reader, job.slide_id, _tiling(card))
        if not len(plan.x):
            raise SlideError("no tissue was found on the slide")
        if len(plan.x) > services.most_tiles:
            raise SlideError(f"{len(plan.x)} tiles; {services.most_tiles} are allowed")
        vectors, kept = _embed(job, results, services, reader, plan)
        services.report("predicting", len(plan.x), len(plan.x))
        found = services.predict(job.model_uri, vectors)
        lost, plan = len(plan.x) - len(kept), _some(plan, kept)
        draw(job.id, results, reader, plan, found)
    return _record(job, card, services.encoder, plan, lost, found)


def _some(plan: Plan, rows: NDArray[np.int64]) -> Plan:
    return replace(plan, x=plan.x[rows], y=plan.y[rows], tissue=plan.tissue[rows])


def _tiling(card: ModelCard) -> Tiling:
    """The tiles that the model was trained on."""
    if card.tile_size is None or card.mpp is None:
        raise SlideError("the model does not say which tiles it was trained on")
    return Tiling(tile_size=card.tile_size, mpp=card.mpp)  # type: ignore[arg-type]


def _embed(
    job: Job,
    results: Results,
    services: Services,
    reader: SlideReader,
    plan: Plan,
) -> tuple[Vectors, NDArray[np.int64]]:
    """Embeddings of the tiles that can be decoded, and which of the plan's they are.

    Pieces that an earlier worker has made are taken from the store.
    """
    kept, vectors = [], []
    for index, (start, stop) in enumerate(plan.pieces()):
        services.report("embedding", start, len(plan.x))
        piece = results.piece(job.id, index)
        if piece is None:
            piece = _embed_piece(services, reader, plan, start, stop)
            results.put_piece(job.id, index, piece)
        kept.append(start + piece.rows)
        vectors.append(piece.vectors)
    rows = np.concatenate(kept)
    lost = len(plan.x) - len(rows)
    if lost > MAX_TILES_LOST * len(plan.x):
        raise SlideError(f"{lost} of {len(plan.x)} tiles could not be decoded")
    return np.concatenate([v for v in vectors if len(v)]), rows


def _embed_piece(
    services: Services, reader: SlideReader, plan: Plan, start: int, stop: int
) -> Piece:
    rows: list[int] = []
    vectors: list[Vectors] = []
    batches = _batches(reader, plan.part(start, stop), services.batch)
    for some, made in _ahead(services.encode, batches):
        vectors.append(made)
        rows += some
        services.report("embedding", start + some[-1] + 1, len(plan.x))
    joined = np.concatenate(vectors) if vectors else np.empty((0, 0), np.float16)
    return Piece(np.array(rows, np.int64), joined)


def _ahead(
    encode: Callable[[Pixels], Vectors], batches: Iterator[tuple[list[int], Pixels]]
) -> Iterator[tuple[list[int], Vectors]]:
    """Batches encoded in their order, the next ones cut meanwhile."""
    with ThreadPoolExecutor(CALLS_AHEAD) as threads:
        asked: deque[tuple[list[int], Future[Vectors]]] = deque()
        for rows, tiles in batches:
            if len(asked) == CALLS_AHEAD:
                done, vectors = asked.popleft()
                yield done, vectors.result()
            asked.append((rows, threads.submit(encode, tiles)))
        for done, vectors in asked:
            yield done, vectors.result()


def _batches(reader: SlideReader, plan: Plan, size: int) -> Iterator[tuple[list[int], Pixels]]:
    """The decodable tiles of a piece by `size`, with their rows in it."""
    rows: list[int] = []
    tiles: list[Pixels] = []
    for row, tile in enumerate(cut_tiles(reader, plan)):
        if tile is not None:
            rows.append(row)
            tiles.append(tile.copy())
        if len(rows) == size:
            yield rows, np.stack(tiles)
            rows, tiles = [], []
    if rows:
        yield rows, np.stack(tiles)


def _record(
    job: Job,
    card: ModelCard,
    encoder: UsedEncoder,
    plan: Plan,
    lost: int,
    found: SlidePrediction,
) -> PredictionRecord:
    path = f"v1/predictions/{job.id}"

    def place(rank: int, row: int) -> dict[str, Any]:
        corner = {"x": int(plan.x[row]), "y": int(plan.y[row]), "side": plan.sampling.side0}
        return corner | {"image": f"{path}/{top_tile(rank)}"}

    return PredictionRecord(
        id=job.id,
        status="done",
        model=job.model,
        slide=SlideDescription(
            uri=job.slide,
            slide_id=job.slide_id,
            width=plan.width,
            height=plan.height,
            mpp=plan.mpp.value,
            side=plan.sampling.side0,
        ),
        created=job.created,
        finished=now(),
        progress=Progress(stage="done", tiles_done=len(plan.x), tiles=len(plan.x) + lost),
        tiles_lost=lost,
        result=told(job.model, card, found, encoder, place),
        links=Links(
            self=path,
            thumbnail=f"{path}/{THUMBNAIL}",
            heatmap=f"{path}/{HEATMAP}",
            heatmap_dzi=f"{path}/heatmap.dzi",
            slide_dzi=f"{path}/slide.dzi",
            attention=f"{path}/{ATTENTION}",
        ),
    )
